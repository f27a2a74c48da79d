// What a job publishes: checkpoints beside the name's `latest`, and the result under it; and the end of checkpoints that
// newer ones replace. Publishing the same again leads to the same versions, so it may be cut off anywhere.
import {
  type Aliases,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { ServeError } from '../common/errors.ts';
import type { SnapshotMessage } from '../contracts/training.ts';
import type { JobRecord } from './job.ts';
import { checkpointAlias, shortId } from './names.ts';

export interface PublicationOptions {
  readonly repository: AdapterRepository;
  /** Of the base that is trained. */
  readonly baseDigest: string;
  /** What was known of the name is old. */
  readonly onPublished: (tenant: string, name: string) => void;
}

export interface PublishRight {
  /** Which lease this is. */
  readonly token: number;
  /** Rejects where the right to publish was lost. */
  readonly confirm: () => Promise<void>;
}

interface Result {
  /** A PEFT folder. */
  readonly directory: string;
  readonly metrics: Readonly<Record<string, unknown>>;
}

export class Publication {
  readonly #options: PublicationOptions;

  constructor(options: PublicationOptions) {
    this.#options = options;
  }

  checkpoint(
    job: JobRecord,
    { step, directory, metrics }: SnapshotMessage,
    right: PublishRight,
  ): Promise<VersionManifest> {
    const alias = checkpointAlias(job.id, step);
    const content = { directory, metrics: { step, ...metrics } };
    return this.#publish(job, content, { id: alias, aliases: [alias], isAside: true, right });
  }

  /** Resolves when a reader of the store sees it under the job's alias. */
  async result(job: JobRecord, result: Result, right: PublishRight): Promise<VersionManifest> {
    const alias = shortId(job.id);
    const manifest = await this.#publish(job, result, { id: job.id, aliases: [alias], right });
    const pointer = (await this.#readAliases(job))[alias];
    if (pointer && versionsOf(pointer).includes(manifest.version)) return manifest;
    const message = `The alias of ${job.id} does not lead to version ${manifest.version}.`;
    throw new ServeError('adapter_unavailable', message);
  }

  /** Removes the versions that the job's record gives up. Cut off anywhere, it can be done again. */
  async trim(job: JobRecord): Promise<void> {
    for (const { step, version } of job.dropped) {
      await this.#leave(job, checkpointAlias(job.id, step), version);
      await this.#removeUnreached(job, version);
    }
  }

  /** The alias of a step may lead to a newer version of it. */
  async #leave(job: JobRecord, alias: string, version: number): Promise<void> {
    const found = await this.#readAliases(job);
    const pointer = found[alias];
    if (!pointer || !versionsOf(pointer).includes(version)) return;
    await this.#options.repository.moveAlias(job, alias, undefined);
  }

  /** Somebody may have led an alias of their own to it. */
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
    { directory, metrics }: Result,
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
      // An earlier lease has published other bytes: another kind of machine rounds in another way.
      return await publish(`${id}.${right.token}`);
    } finally {
      this.#options.onPublished(job.tenant, job.name);
    }
  }
}
