// Publishes a run's checkpoints and its result, and records them in the job. Writes only under the job's lease.

import { stat } from 'node:fs/promises';
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
import { checkpointModel, fineTunedModel, shortId } from './names.ts';
import { Publication } from './publication.ts';
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
