// What a job publishes: checkpoints beside the name's `latest`, and the result under it; and the end of checkpoints that
// newer ones replace. Publishing the same again leads to the same versions, so it may be cut off anywhere.
import type { VersionManifest } from '../../adapters/manifest.ts';
import { versionsOf } from '../../adapters/manifest.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { ServeError } from '../errors.ts';
import type { SnapshotMessage } from '../training.ts';
import type { JobRecord } from './job.ts';
import { checkpointAlias, shortId } from './names.ts';

export interface PublicationOptions {
  readonly repository: AdapterRepository;
  /** Of the base that is trained. */
  readonly baseDigest: string;
  /** What was known of the name is old. */
  readonly onPublished: (tenant: string, name: string) => void;
}

export interface Right {
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
    right: Right,
  ): Promise<VersionManifest> {
    const alias = checkpointAlias(job.id, step);
    const content = { directory, metrics: { step, ...metrics } };
    return this.#publish(job, content, { id: alias, aliases: [alias], isAside: true, right });
  }

  /** Resolves when a reader of the store sees it under the job's alias. */
  async result(job: JobRecord, result: Result, right: Right): Promise<VersionManifest> {
    const alias = shortId(job.id);
    const manifest = await this.#publish(job, result, { id: job.id, aliases: [alias], right });
    const seen = await this.#options.repository.readAliases(job.tenant, job.name);
    const pointer = seen?.aliases.aliases[alias];
    if (pointer && versionsOf(pointer).includes(manifest.version)) return manifest;
    const message = `The alias of ${job.id} does not lead to version ${manifest.version}.`;
    throw new ServeError('adapter_unavailable', message);
  }

  /** Removes the job's published checkpoints that are not among those of its record. */
  async trim(job: JobRecord): Promise<void> {
    const { repository } = this.#options;
    const found = await repository.readAliases(job.tenant, job.name);
    const kept = new Set(job.checkpoints.map(({ step }) => checkpointAlias(job.id, step)));
    const prefix = `${shortId(job.id)}.ckpt-step-`;
    for (const [alias, pointer] of Object.entries(found?.aliases.aliases ?? {})) {
      if (!alias.startsWith(prefix) || kept.has(alias)) continue;
      const { aliases } = await repository.moveAlias(job, alias, undefined);
      const reached = new Set(Object.values(aliases).flatMap(versionsOf));
      for (const version of versionsOf(pointer)) {
        if (!reached.has(version)) await repository.removeVersion(job, version);
      }
    }
  }

  async #publish(
    job: JobRecord,
    { directory, metrics }: Result,
    options: { id: string; aliases: readonly string[]; isAside?: true; right: Right },
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
