// Gathers what a run reports and writes it into the job's record a moment later. Each write renews
// the lease. Whatever was not written stays for the next write. Knows no trainer.
import type { Logger } from '../common/log.ts';
import type { Clock } from '../common/waiting.ts';
import type { StepMessage } from '../contracts/training-messages.ts';
import type { JobState, NewEvent } from './job.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import { withReport } from './run-events.ts';

/** Settings of a `RunJournal`. */
export interface RunJournalOptions {
  readonly log: Pick<Logger, 'warn'>;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly clock: Clock;
  /** Milliseconds between a report and its write. */
  readonly flushMs: number;
  /** Called when the job's record was read and written. */
  readonly onWritten: () => void;
}

/** A small model makes hundreds of steps per second. Beyond this many the trainer's messages wait for a write. */
const MAX_BUFFERED_STEPS = 100;

/** A write-behind buffer in front of one job's record. */
export class RunJournal {
  readonly #lease: JobLease;
  readonly #options: RunJournalOptions;
  #steps: StepMessage[] = [];
  #events: NewEvent[] = [];
  /** The first step of this run, to estimate the end. */
  #first: { step: number; atMs: number } | undefined;
  #estimatedFinishMs: number | undefined;
  /** Set while a write is due. */
  #cancelWrite: (() => void) | undefined;
  /** Whether the last attempt to write failed. */
  #isFailing = false;

  constructor(lease: JobLease, options: RunJournalOptions) {
    this.#lease = lease;
    this.#options = options;
  }

  /** Resolves when there is room for the next step. */
  async addStep(message: StepMessage): Promise<void> {
    const atMs = this.#options.now();
    const { step, totalSteps } = message;
    this.#first ??= { step, atMs };
    if (step > this.#first.step) {
      const stepMs = (atMs - this.#first.atMs) / (step - this.#first.step);
      this.#estimatedFinishMs = Math.round(atMs + stepMs * (totalSteps - step));
    }
    this.#steps.push(message);
    if (this.#steps.length >= MAX_BUFFERED_STEPS) await this.tryWrite();
    else this.#writeSoon();
  }

  addEvent(event: NewEvent): void {
    this.#events.push(event);
    this.#writeSoon();
  }

  /** Writes all reports and one more change of the record. Throws `LeaseLost` or the store's error. */
  async write(change: (job: JobState) => JobState | undefined = () => undefined): Promise<void> {
    this.#cancelWrite?.();
    this.#cancelWrite = undefined;
    let written = { steps: 0, events: 0 };
    // The lease makes one change at a time, so no two writes take the same reports.
    await this.#lease.change((job) => {
      // Copies, because both lists grow during the write.
      const [steps, events] = [[...this.#steps], [...this.#events]];
      written = { steps: steps.length, events: events.length };
      const report = { steps, events, estimatedFinishMs: this.#estimatedFinishMs };
      const next = withReport(job, report, this.#options.now());
      return change(next ?? job) ?? next;
    });
    this.#steps.splice(0, written.steps);
    this.#events.splice(0, written.events);
    this.#options.onWritten();
  }

  /** Writes all reports. Logs failures and keeps the reports for the next write. */
  async tryWrite(): Promise<void> {
    try {
      await this.write();
      this.#isFailing = false;
    } catch (error) {
      if (error instanceof LeaseLost) return;
      // A write is tried every few seconds. If the store is away for an hour, one line is enough.
      if (!this.#isFailing) this.#options.log.warn({ err: error }, 'job not written');
      this.#isFailing = true;
    }
  }

  /** Stops writing by itself. */
  close(): void {
    this.#cancelWrite?.();
  }

  #writeSoon(): void {
    const { clock, flushMs } = this.#options;
    this.#cancelWrite ??= clock.schedule(flushMs, () => void this.tryWrite());
  }
}
