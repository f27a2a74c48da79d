// Publishes a job's checkpoints, which `latest` ignores, and its result, and removes replaced checkpoints. Publishing the same
// content again produces the same version, so interruptions do no harm.
import {
  type Aliases,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import { ServeError } from '../common/errors.ts';
import { apiMetrics } from '../contracts/metrics.ts';
import type { SnapshotMessage } from '../contracts/training-messages.ts';
import type { JobsContext } from './context.ts';
import type { JobRecord } from './job.ts';
import { checkpointAlias, shortId } from './names.ts';

type PublicationContext = Pick<JobsContext, 'repository' | 'base' | 'onPublished'>;

/** The right to publish, given by a lease. */
interface PublishRight {
  readonly fencingToken: number;
  /** Throws if the right has been lost. */
  readonly confirm: () => Promise<void>;
}

interface PublishedContent {
  /** A PEFT folder. */
  readonly directory: string;
  readonly metrics: Readonly<Record<string, unknown>>;
}

/** Publishes for the jobs of a lease. Methods throw the repository's errors. */
export class Publication {
  readonly #context: PublicationContext;
  readonly #right: PublishRight;

  constructor(context: PublicationContext, right: PublishRight) {
    this.#context = context;
    this.#right = right;
  }

  /** Publishes a snapshot under the alias of its step. */
  checkpoint(
    job: JobRecord,
    { step, directory, metrics }: SnapshotMessage,
  ): Promise<VersionManifest> {
    const alias = checkpointAlias(job.id, step);
    const content = { directory, metrics: { step, ...apiMetrics(metrics) } };
    return this.#publish(job, content, { publicationId: alias, aliases: [alias], isAside: true });
  }

  /** Publishes the result. Resolves when readers can see it under the job's alias. */
  async result(job: JobRecord, result: PublishedContent): Promise<VersionManifest> {
    const alias = shortId(job.id);
    const names = { publicationId: job.id, aliases: [alias] };
    const manifest = await this.#publish(job, result, names);
    const pointer = (await this.#readAliases(job))[alias];
    if (pointer && versionsOf(pointer).includes(manifest.version)) return manifest;
    const message = `The alias of ${job.id} does not point to version ${manifest.version} yet.`;
    throw new ServeError('adapter_unavailable', message);
  }

  /** Removes the versions that the job's record has dropped. Can be repeated after an interruption. */
  async trim(job: JobRecord): Promise<void> {
    for (const { step, version } of job.dropped) {
      // The alias may point to a newer version of the step.
      const from = { from: version };
      await this.#context.repository.moveAlias(job, checkpointAlias(job.id, step), undefined, from);
      await this.#removeUnreached(job, version);
    }
  }

  /** Keeps a version that has an alias, because a user may have set it. */
  async #removeUnreached(job: JobRecord, version: number): Promise<void> {
    const pointers = Object.values(await this.#readAliases(job));
    if (pointers.flatMap(versionsOf).includes(version)) return;
    try {
      await this.#context.repository.removeVersion(job, version);
    } catch (error) {
      const isGone = error instanceof ServeError && error.code === 'not_found';
      if (!isGone) throw error;
    }
  }

  async #readAliases({ tenant, name }: JobRecord): Promise<Aliases['aliases']> {
    return (await this.#context.repository.readAliases(tenant, name))?.aliases.aliases ?? {};
  }

  async #publish(
    job: JobRecord,
    { directory, metrics }: PublishedContent,
    names: { publicationId: string; aliases: readonly string[]; isAside?: true },
  ): Promise<VersionManifest> {
    const { repository, base } = this.#context;
    const { fencingToken, confirm } = this.#right;
    const { tenant, name, id } = job;
    const options = { baseDigest: base.digest, job: id, metrics, confirm, ...names };
    const publish = (publicationId: string) =>
      repository.publish({ tenant, name }, { directory }, { ...options, publicationId });
    try {
      return await publish(names.publicationId);
    } catch (error) {
      const isOther = error instanceof ServeError && error.param === 'publication_id';
      if (!isOther) throw error;
      // An earlier lease published different bytes, because another kind of machine rounds differently.
      return await publish(`${names.publicationId}.${fencingToken}`);
    } finally {
      this.#context.onPublished(tenant, name);
    }
  }
}
