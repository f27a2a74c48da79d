// What a run tells, gathered and written into its job's record a moment later, one writing at a time. Each writing renews
// the lease, and what was not written stays for the next. It knows no trainer.
import type { Logger } from '../common/log.ts';
import type { StepMessage } from '../contracts/training.ts';
import { type HeldJob, LeaseLost } from './held-job.ts';
import type { JobState, NewEvent } from './job.ts';
import { withTold } from './told-run.ts';

export interface RunJournalOptions {
  readonly log: Pick<Logger, 'warn'>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Between the first thing told and its writing. */
  readonly flushMs: number;
  /** The job's record has been read and written. */
  readonly onWritten: () => void;
}

/** Steps of a small model come by the hundred: more than this are written down before more are taken. */
const MAX_BUFFERED = 100;

export class RunJournal {
  readonly #held: HeldJob;
  readonly #options: RunJournalOptions;
  #steps: StepMessage[] = [];
  #events: NewEvent[] = [];
  /** The first step of this run, for the estimate of its end. */
  #first: { step: number; atMs: number } | undefined;
  #estimatedFinishMs: number | undefined;
  #writing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  /** Whether the last try to write failed. */
  #isFailing = false;

  constructor(held: HeldJob, options: RunJournalOptions) {
    this.#held = held;
    this.#options = options;
  }

  /** Resolves when there is room for more. */
  async addStep(message: StepMessage): Promise<void> {
    const atMs = this.#options.now();
    const { step, totalSteps } = message;
    this.#first ??= { step, atMs };
    if (step > this.#first.step) {
      const stepMs = (atMs - this.#first.atMs) / (step - this.#first.step);
      this.#estimatedFinishMs = Math.round(atMs + stepMs * (totalSteps - step));
    }
    this.#steps.push(message);
    if (this.#steps.length >= MAX_BUFFERED) await this.tryWrite();
    else this.#writeSoon();
  }

  tell(event: NewEvent): void {
    this.#events.push(event);
    this.#writeSoon();
  }

  /** With another change of the record. Rejects with `LeaseLost`, or as the store does. */
  write(also?: (job: JobState) => JobState | undefined): Promise<void> {
    const next = this.#writing.catch(() => {}).then(() => this.#write(also));
    this.#writing = next;
    return next;
  }

  /** Does not reject. */
  async tryWrite(): Promise<void> {
    try {
      await this.write();
      this.#isFailing = false;
    } catch (error) {
      if (error instanceof LeaseLost) return;
      // Tried again every few seconds: a store that is away for an hour is one line, not a thousand.
      if (!this.#isFailing) this.#options.log.warn({ err: error }, 'job not written');
      this.#isFailing = true;
    }
  }

  /** What is told from now on waits for a writing. */
  close(): void {
    clearTimeout(this.#timer);
  }

  #writeSoon(): void {
    this.#timer ??= setTimeout(() => void this.tryWrite(), this.#options.flushMs);
  }

  async #write(also: (job: JobState) => JobState | undefined = () => undefined): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // Copies: these lists grow while they are written down.
    const steps = [...this.#steps];
    const events = [...this.#events];
    const estimatedFinishMs = this.#estimatedFinishMs;
    await this.#held.change((job) => {
      const nowMs = this.#options.now();
      const next = withTold(job, { steps, events }, { nowMs, estimatedFinishMs });
      return also(next ?? job) ?? next;
    });
    // What was told meanwhile stays.
    this.#steps = this.#steps.slice(steps.length);
    this.#events = this.#events.slice(events.length);
    this.#options.onWritten();
  }
}
