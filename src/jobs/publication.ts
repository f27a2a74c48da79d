// Publishes a job's checkpoints, which `latest` ignores, and its result, and removes replaced checkpoints. Publishing the
// same again leads to the same versions, so an interruption does no harm.
import {
  type Aliases,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { ServeError } from '../common/errors.ts';
import type { SnapshotMessage } from '../contracts/training-messages.ts';
import type { JobRecord } from './job.ts';
import { checkpointAlias, shortId } from './names.ts';

/** Settings of a `Publication`. */
export interface PublicationOptions {
  readonly repository: AdapterRepository;
  /** The digest of the trained base. */
  readonly baseDigest: string;
  /** Called when a name may have a new version. */
  readonly onPublished: (tenant: string, name: string) => void;
}

/** The right to publish, which a lease gives. */
export interface PublishRight {
  /** The number of the lease. */
  readonly token: number;
  /** Throws if the right was lost. */
  readonly confirm: () => Promise<void>;
}

interface PublishedContent {
  /** A PEFT folder. */
  readonly directory: string;
  readonly metrics: Readonly<Record<string, unknown>>;
}

/** Publishes for all jobs of a server. Methods throw the repository's errors. */
export class Publication {
  readonly #options: PublicationOptions;

  constructor(options: PublicationOptions) {
    this.#options = options;
  }

  /** Publishes a snapshot under the alias of its step. */
  checkpoint(
    job: JobRecord,
    { step, directory, metrics }: SnapshotMessage,
    right: PublishRight,
  ): Promise<VersionManifest> {
    const alias = checkpointAlias(job.id, step);
    const content = { directory, metrics: { step, ...metrics } };
    return this.#publish(job, content, { id: alias, aliases: [alias], isAside: true, right });
  }

  /** Publishes the result. Resolves when readers see it under the job's alias. */
  async result(
    job: JobRecord,
    result: PublishedContent,
    right: PublishRight,
  ): Promise<VersionManifest> {
    const alias = shortId(job.id);
    const manifest = await this.#publish(job, result, { id: job.id, aliases: [alias], right });
    const pointer = (await this.#readAliases(job))[alias];
    if (pointer && versionsOf(pointer).includes(manifest.version)) return manifest;
    const message = `The alias of ${job.id} does not lead to version ${manifest.version} yet.`;
    throw new ServeError('adapter_unavailable', message);
  }

  /** Removes the versions that the job's record has dropped. It can be repeated after any interruption. */
  async trim(job: JobRecord): Promise<void> {
    for (const { step, version } of job.dropped) {
      await this.#removeAlias(job, checkpointAlias(job.id, step), version);
      await this.#removeUnreached(job, version);
    }
  }

  /** Keeps the alias if it leads to a newer version of the step. */
  async #removeAlias(job: JobRecord, alias: string, version: number): Promise<void> {
    const found = await this.#readAliases(job);
    const pointer = found[alias];
    if (!pointer || !versionsOf(pointer).includes(version)) return;
    await this.#options.repository.moveAlias(job, alias, undefined);
  }

  /** Keeps a version that has an alias: a user may have set one. */
  async #removeUnreached(job: JobRecord, version: number): Promise<void> {
    const pointers = Object.values(await this.#readAliases(job));
    if (pointers.flatMap(versionsOf).includes(version)) return;
    try {
      await this.#options.repository.removeVersion(job, version);
    } catch (error) {
      const isGone = error instanceof ServeError && error.code === 'not_found';
      if (!isGone) throw error;
    }
  }

  async #readAliases({ tenant, name }: JobRecord): Promise<Aliases['aliases']> {
    const found = await this.#options.repository.readAliases(tenant, name);
    return found?.aliases.aliases ?? {};
  }

  async #publish(
    job: JobRecord,
    { directory, metrics }: PublishedContent,
    options: { id: string; aliases: readonly string[]; isAside?: true; right: PublishRight },
  ): Promise<VersionManifest> {
    const { id, aliases, isAside, right } = options;
    const { repository, baseDigest } = this.#options;
    const publish = (publicationId: string) =>
      repository.publish(
        { tenant: job.tenant, name: job.name },
        { directory },
        {
          baseDigest,
          job: job.id,
          metrics,
          aliases,
          publicationId,
          confirm: right.confirm,
          ...(isAside && { isAside }),
        },
      );
    try {
      return await publish(id);
    } catch (error) {
      const isOther = error instanceof ServeError && error.param === 'publication_id';
      if (!isOther) throw error;
      // An earlier lease has published other bytes, because another kind of machine rounds differently.
      return await publish(`${id}.${right.token}`);
    } finally {
      this.#options.onPublished(job.tenant, job.name);
    }
  }
}
