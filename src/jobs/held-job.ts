// A job that this server works on: every change of it says that the lease is still this one, so that a server that was
// away for too long changes nothing any more.
import { claimed, holdsLease, type JobRecord, type JobState, released } from './job.ts';
import type { JobStore } from './job-store.ts';

/** Somebody else has the job by now, or may have it. */
export class LeaseLost extends Error {
  override name = 'LeaseLost';
}

export interface HeldJobOptions {
  readonly jobs: JobStore;
  readonly leaseMs: number;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
}

export class HeldJob {
  readonly token: number;
  readonly #options: HeldJobOptions;
  readonly #lost = new AbortController();
  #job: JobRecord;
  /** When the last change that took effect was begun. */
  #heldMs: number;
  /** One change at a time, so that the state that was seen last is the newest. */
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(job: JobRecord, heldMs: number, options: HeldJobOptions) {
    this.#job = job;
    this.#heldMs = heldMs;
    this.#options = options;
    this.token = job.token;
  }

  /** Takes a job whose lease is over; undefined where it has changed meanwhile. */
  static async claim(
    job: JobRecord,
    owner: string,
    options: HeldJobOptions,
  ): Promise<HeldJob | undefined> {
    const heldMs = options.clock();
    const now = await options.jobs.change(job, (state) => {
      const isSame =
        state.status === job.status &&
        state.lease?.token === job.lease?.token &&
        state.lease?.beat === job.lease?.beat;
      return isSame ? claimed(state, owner) : undefined;
    });
    return now.lease?.owner === owner && now.token > job.token
      ? new HeldJob(now, heldMs, options)
      : undefined;
  }

  /** As it was last seen. */
  get job(): JobRecord {
    return this.#job;
  }

  /** Aborts when the lease is lost. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Also renews the lease, where the change has nothing to do. Rejects with `LeaseLost`, or as the store does. */
  change(change: (now: JobRecord) => JobState | undefined = () => undefined): Promise<void> {
    const changed = this.#changing.then(() => this.#change(change));
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #change(change: (now: JobRecord) => JobState | undefined): Promise<void> {
    const beginMs = this.#options.clock();
    try {
      this.#lost.signal.throwIfAborted();
      this.#job = await this.#options.jobs.change(this.#job, (now) => {
        if (!holdsLease(now, this.token)) throw new LeaseLost('the lease is another’s');
        const next = change(now) ?? now;
        const beat = now.lease!.beat + 1;
        return next.lease ? { ...next, lease: { ...next.lease, beat } } : next;
      });
      this.#heldMs = beginMs;
    } catch (error) {
      if (error instanceof LeaseLost) this.#lose(error);
      else this.#loseWhenLate();
      throw error;
    }
  }

  /** The last change: others may take the job at once. */
  async release(change: (now: JobRecord) => JobState | undefined = () => undefined): Promise<void> {
    await this.change((now) => released(change(now) ?? now));
  }

  #loseWhenLate(): void {
    const { clock, leaseMs } = this.#options;
    if (clock() - this.#heldMs >= leaseMs) this.#lose(new LeaseLost('it could not be renewed'));
  }

  #lose(error: LeaseLost): void {
    if (!this.#lost.signal.aborted) this.#lost.abort(error);
  }
}
