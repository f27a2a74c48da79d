// Publishes a run's checkpoints and its result, and records them in the job. Writes only under the job's lease.

import { stat } from 'node:fs/promises';
import {
  type Aliases,
  type VersionManifest,
  versionsOf,
} from '../../adapters/repository/manifest.ts';
import { ServeError } from '../common/errors.ts';
import type { EvaluationCard } from '../contracts/evaluation-card.ts';
import { apiMetrics, checkpointMetricsSchema } from '../contracts/metrics.ts';
import type { SnapshotMessage, TrainedMessage } from '../contracts/training-messages.ts';
import type { JobsContext } from './context.ts';
import {
  isWanted,
  type JobRecord,
  messageEvent,
  type NewEvent,
  withCheckpoint,
  withEvents,
  withoutDropped,
} from './job.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import { checkpointAlias, checkpointModel, fineTunedModel, shortId } from './names.ts';
import type { RunJournal } from './run-journal.ts';

/** A published result, and the events that report it. */
interface PublishedResult {
  readonly result: NonNullable<JobRecord['result']>;
  readonly events: readonly NewEvent[];
}

/** Publishes what one run produces. */
export class RunResults {
  readonly #lease: JobLease;
  readonly #journal: RunJournal;
  readonly #context: JobsContext;
  readonly #publication: Publication;

  constructor(lease: JobLease, journal: RunJournal, context: JobsContext) {
    this.#lease = lease;
    this.#journal = journal;
    this.#context = context;
    const { fencingToken } = lease;
    this.#publication = new Publication(context, {
      fencingToken,
      confirm: () => this.#confirm(),
    });
  }

  /** Publishes a snapshot as a checkpoint if it is kept. If that fails, adds a warning to the job's events. */
  async publishCheckpoint(snapshot: SnapshotMessage): Promise<void> {
    const { log, now } = this.#context;
    const { step } = snapshot;
    const { record: job } = this.#lease;
    if (!isWanted(job, snapshot)) return; // a resumed run repeats snapshots
    try {
      const metrics = checkpointMetricsSchema.parse(snapshot.metrics);
      const content = { ...snapshot, metrics };
      const { version, digest } = await this.#publication.checkpoint(job, content);
      const checkpoint = { step, version, digest, createdMs: now(), metrics };
      const text = `Checkpoint created at step ${step} with Snapshot ID: ${checkpointModel(job, step)}`;
      const event = messageEvent(text, { data: { step, ...apiMetrics(metrics) } });
      await this.#journal.write((state) =>
        withEvents(withCheckpoint(state, checkpoint), [event], checkpoint.createdMs),
      );
    } catch (error) {
      if (error instanceof LeaseLost) throw error;
      log.warn({ err: error, job: job.id, step }, 'checkpoint not published');
      const reason = error instanceof ServeError ? `: ${error.message}` : '';
      const text = `The checkpoint of step ${step} was not published${reason}`;
      this.#journal.addEvent(messageEvent(text, { level: 'warn', data: { step } }));
    }
  }

  /** Removes checkpoints that newer ones have replaced. After a failure, the next call tries again. */
  async removeOldCheckpoints(): Promise<void> {
    const { record: job } = this.#lease;
    if (job.dropped.length === 0) return;
    try {
      await this.#publication.trim(job);
      await this.#journal.write((now) => withoutDropped(now, job.dropped));
    } catch (error) {
      if (error instanceof LeaseLost) throw error;
      this.#context.log.warn({ err: error, job: job.id }, 'old checkpoints not removed');
    }
  }

  /** Publishes the adapter and the table of its steps. Throws `LeaseLost`, or the error of the store or the publication. */
  async publishResult(
    { directory, resultFile, totalSteps, trainedTokens }: TrainedMessage,
    card: EvaluationCard | undefined,
  ): Promise<PublishedResult> {
    const { record: job } = this.#lease;
    const metrics = { steps: totalSteps, ...(card && { evaluation: card }) };
    const { version, digest } = await this.#publication.result(job, { directory, metrics });
    const resultFiles = resultFile === undefined ? [] : [await this.#saveTable(job, resultFile)];
    const model = fineTunedModel(job);
    return {
      result: { version, digest, trainedTokens, resultFiles },
      events: [
        messageEvent(`New fine-tuned model created: ${model}`, { data: { model, version } }),
        messageEvent('The job has successfully completed'),
      ],
    };
  }

  /** The file's id is derived from the job's, so a second attempt produces the same file. */
  async #saveTable({ id, tenant }: JobRecord, file: string): Promise<string> {
    const { size } = await stat(file);
    const meta = await this.#context.files.create(tenant, {
      id: `file-${shortId(id)}`,
      source: { file },
      byteSize: size,
      filename: 'step_metrics.csv',
      purpose: 'fine-tune-results',
    });
    return meta.id;
  }

  /** Runs just before an alias moves, to check that the lease is still held and the job has not ended. */
  async #confirm(): Promise<void> {
    await this.#lease.change();
    if (this.#lease.record.status !== 'running') throw new LeaseLost('the job has ended');
  }
}

// Publishes a job's checkpoints, which `latest` ignores, and its result, and removes replaced checkpoints. Publishing the same
// content again produces the same version, so interruptions do no harm.

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
