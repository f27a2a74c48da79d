// Publishes a run's checkpoints and its result, and records them in the job. Writes only under the job's lease. Knows no
// processes.
import { stat } from 'node:fs/promises';
import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { EvaluationCard } from '../contracts/evaluation-card.ts';
import type { SnapshotMessage, TrainedMessage } from '../contracts/training-messages.ts';
import type { Files } from './files.ts';
import {
  type JobRecord,
  messageEvent,
  type NewEvent,
  withCheckpoint,
  withEvents,
  withoutDropped,
} from './job.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import { checkpointModel, fineTunedModel, shortId } from './names.ts';
import type { Publication, PublishRight } from './publication.ts';
import { checkpointMetrics } from './run-events.ts';
import type { RunJournal } from './run-journal.ts';

/** Settings of `RunResults`. */
export interface RunResultsOptions {
  readonly files: Files;
  readonly publication: Publication;
  readonly log: Pick<Logger, 'warn'>;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** A published result, and the events that report it. */
export interface PublishedResult {
  readonly result: NonNullable<JobRecord['result']>;
  readonly events: readonly NewEvent[];
}

/** Publishes what one run produces. */
export class RunResults {
  readonly #lease: JobLease;
  readonly #journal: RunJournal;
  readonly #options: RunResultsOptions;

  constructor(lease: JobLease, journal: RunJournal, options: RunResultsOptions) {
    this.#lease = lease;
    this.#journal = journal;
    this.#options = options;
  }

  /** Publishes a snapshot as a checkpoint. A failure becomes a warning among the job's events. */
  async publishCheckpoint(snapshot: SnapshotMessage): Promise<void> {
    const { publication, log, now } = this.#options;
    const { step, metrics } = snapshot;
    const { job } = this.#lease;
    const isKnown = job.checkpoints.some((known) => known.step >= step);
    if (isKnown) return; // a resumed run repeats its snapshots
    try {
      const { version, digest } = await publication.checkpoint(job, snapshot, this.#right());
      const checkpoint = { step, version, digest, createdMs: now(), metrics };
      const text = `Checkpoint created at step ${step} with Snapshot ID: ${checkpointModel(job, step)}`;
      const event = messageEvent(text, { data: checkpointMetrics(step, metrics) });
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

  /** Removes checkpoints that newer ones have replaced. After a failure the next call tries again. */
  async removeOldCheckpoints(): Promise<void> {
    const { job } = this.#lease;
    if (job.dropped.length === 0) return;
    try {
      await this.#options.publication.trim(job);
      await this.#journal.write((now) => withoutDropped(now, job.dropped));
    } catch (error) {
      if (error instanceof LeaseLost) throw error;
      this.#options.log.warn({ err: error, job: job.id }, 'old checkpoints not removed');
    }
  }

  /** Publishes the adapter and the table of its steps. Throws `LeaseLost`, or the store's or the publication's error. */
  async publishResult(
    { directory, resultFile, totalSteps, trainedTokens }: TrainedMessage,
    card: EvaluationCard | undefined,
  ): Promise<PublishedResult> {
    const { job } = this.#lease;
    const metrics = { steps: totalSteps, ...(card && { evaluation: card }) };
    const { version, digest } = await this.#options.publication.result(
      job,
      { directory, metrics },
      this.#right(),
    );
    const resultFiles = [await this.#saveTable(job, resultFile)];
    const model = fineTunedModel(job);
    return {
      result: { version, digest, trainedTokens, resultFiles },
      events: [
        messageEvent(`New fine-tuned model created: ${model}`, { data: { model, version } }),
        messageEvent('The job has successfully completed'),
      ],
    };
  }

  /** The file's id follows from the job's, so a second attempt leads to the same file. */
  async #saveTable({ id, tenant }: JobRecord, file: string): Promise<string> {
    const { size } = await stat(file);
    const meta = await this.#options.files.create(tenant, {
      id: `file-${shortId(id)}`,
      source: { file },
      byteSize: size,
      filename: 'step_metrics.csv',
      purpose: 'fine-tune-results',
    });
    return meta.id;
  }

  #right(): PublishRight {
    return { token: this.#lease.token, confirm: () => this.#confirm() };
  }

  /** Runs just before an alias moves: the lease still holds, and nobody has ended the job. */
  async #confirm(): Promise<void> {
    await this.#lease.change();
    if (this.#lease.job.status !== 'running') throw new LeaseLost('the job has ended');
  }
}
