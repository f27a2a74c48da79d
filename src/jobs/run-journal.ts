// Collects what a run reports and writes it into the job's record a moment later. Each write renews the lease. Reports whose
// write failed stay for the next one.

import type { StepMessage } from '../contracts/training-messages.ts';
import type { JobsContext } from './context.ts';
import type { JobRecord, NewEvent } from './job.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import { withReport } from './trainer-events.ts';

/** A small model makes hundreds of steps per second. Beyond this many steps, the trainer's messages wait for a write. */
const MAX_BUFFERED_STEPS = 100;

/** A write-behind buffer in front of one job's record. */
export class RunJournal {
  readonly #lease: JobLease;
  readonly #context: JobsContext;
  readonly #onWritten: () => void;
  #steps: StepMessage[] = [];
  #events: NewEvent[] = [];
  /** The first step of this run, for estimating the end. */
  #first: { step: number; atMs: number } | undefined;
  #estimatedFinishMs: number | undefined;
  /** Set while a write is due. */
  #cancelWrite: (() => void) | undefined;
  /** Whether the last write failed. */
  #isFailing = false;

  /** @param onWritten called after the job's record was read and written */
  constructor(lease: JobLease, context: JobsContext, onWritten: () => void) {
    this.#lease = lease;
    this.#context = context;
    this.#onWritten = onWritten;
  }

  /** Resolves when there is room for the next step. */
  async addStep(message: StepMessage): Promise<void> {
    const atMs = this.#context.now();
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

  /** Writes all reports together with another change of the record. Throws `LeaseLost` or the store's error. */
  async write(change: (job: JobRecord) => JobRecord | undefined = () => undefined): Promise<void> {
    this.#cancelWrite?.();
    this.#cancelWrite = undefined;
    let written = { steps: 0, events: 0 };
    // The lease makes one change at a time, so no two writes include the same reports.
    await this.#lease.change((job) => {
      // Copies, because both lists grow during the write.
      const [steps, events] = [[...this.#steps], [...this.#events]];
      written = { steps: steps.length, events: events.length };
      const report = { steps, events, estimatedFinishMs: this.#estimatedFinishMs };
      const next = withReport(job, report, this.#context.now());
      return change(next ?? job) ?? next;
    });
    this.#steps.splice(0, written.steps);
    this.#events.splice(0, written.events);
    this.#onWritten();
  }

  /** Writes all reports. Logs failures and keeps the reports for the next write. */
  async tryWrite(): Promise<void> {
    try {
      await this.write();
      this.#isFailing = false;
    } catch (error) {
      if (error instanceof LeaseLost) return;
      // Writes are tried every few seconds. If the store is away for an hour, one line in the log is enough.
      if (!this.#isFailing) this.#context.log.warn({ err: error }, 'job not written');
      this.#isFailing = true;
    }
  }

  /** Stops the scheduled writes. */
  close(): void {
    this.#cancelWrite?.();
  }

  #writeSoon(): void {
    const { clock, timing } = this.#context;
    this.#cancelWrite ??= clock.schedule(timing.flushMs, () => void this.tryWrite());
  }
}
