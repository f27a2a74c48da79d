// Leases on records of long work. A server changes a record only through its lease, so a server that was away for too long can
// change nothing any more. Each server judges by its own monotonic clock whether another server's lease has expired, so clocks
// that differ or jump cannot take work away from its owner.
import type { JobRecord } from './job.ts';
import type { LeasedRecord, RecordStore } from './record-store.ts';

/**
 * A lease that was not renewed for this many milliseconds has expired. Another server notices the last renewal up to one scan
 * late, and the expiry too, which makes 28 s in total.
 */
export const LEASE_MS = 22_000;

/** A lease must be seen without a renewal for this long, whatever the record's mark tells. */
const MIN_SEEN_MS = 10_000;

/** Another server has taken the work, or may have. */
export class LeaseLost extends Error {
  override name = 'LeaseLost';
}

/** The owner of this server's leases. */
export interface LeaseOwner {
  readonly name: string;
  /** Whether the owner of a lease is known to be gone for good. */
  readonly isGone: (owner: string) => boolean;
}

/** A change of a record: its next state, or undefined to leave it unchanged. */
export type RecordChange<R> = (now: R) => R | undefined;

/** The options that all leases of a server on one kind of records share. */
export interface LeaseOptionsOf<R extends LeasedRecord> {
  readonly records: Pick<RecordStore<R>, 'change'>;
  readonly leaseMs: number;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
}

/** This server's lease on a fine-tuning job. */
export type JobLease = RecordLease<JobRecord>;

/** This server's lease on a record. */
export class RecordLease<R extends LeasedRecord> {
  readonly fencingToken: number;
  readonly #options: LeaseOptionsOf<R>;
  readonly #lost = new AbortController();
  #record: R;
  /** When the last successful change started. */
  #renewedMs: number;
  /** Changes run one at a time, so that the newest state wins. */
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(record: R, renewedMs: number, options: LeaseOptionsOf<R>) {
    this.#record = record;
    this.#renewedMs = renewedMs;
    this.#options = options;
    this.fencingToken = record.token;
  }

  /** Claims a record whose lease has expired. Returns undefined if the record has changed meanwhile. */
  static async claim<R extends LeasedRecord>(
    record: R,
    owner: string,
    options: LeaseOptionsOf<R>,
  ): Promise<RecordLease<R> | undefined> {
    const renewedMs = options.clock();
    const now = await options.records.change(record, (state) => {
      const isSame =
        state.status === record.status &&
        state.lease?.token === record.lease?.token &&
        state.lease?.beat === record.lease?.beat;
      if (!isSame) return undefined;
      const fencingToken = state.token + 1; // ends all earlier leases
      const lease = { owner, token: fencingToken, beat: 0 };
      return { ...state, token: fencingToken, lease };
    });
    return now.lease?.owner === owner && now.token > record.token
      ? new RecordLease(now, renewedMs, options)
      : undefined;
  }

  /** The record as this server last saw it. */
  get record(): R {
    return this.#record;
  }

  /** Aborts when the lease is lost. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Changes the record and renews the lease. Without a change, only renews it. Throws `LeaseLost` or the store's error. */
  change(change: RecordChange<R> = () => undefined): Promise<void> {
    const changed = this.#changing.then(() => this.#change(change));
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #change(change: RecordChange<R>): Promise<void> {
    const beginMs = this.#options.clock();
    try {
      this.#lost.signal.throwIfAborted();
      this.#record = await this.#options.records.change(this.#record, (now) => {
        if (now.lease?.token !== this.fencingToken)
          throw new LeaseLost('another server has the lease');
        const next = change(now) ?? now;
        const beat = now.lease.beat + 1;
        return next.lease ? { ...next, lease: { ...next.lease, beat } } : next;
      });
      this.#renewedMs = beginMs;
    } catch (error) {
      if (error instanceof LeaseLost) this.#lose(error);
      else this.#loseIfExpired();
      throw error;
    }
  }

  /** Makes a final change and frees the record for other servers. */
  release(change: RecordChange<R> = () => undefined): Promise<void> {
    return this.change((now) => ({ ...(change(now) ?? now), lease: undefined }));
  }

  #loseIfExpired(): void {
    const { clock, leaseMs } = this.#options;
    if (clock() - this.#renewedMs >= leaseMs) this.#lose(new LeaseLost('it was not renewed'));
  }

  #lose(error: LeaseLost): void {
    if (!this.#lost.signal.aborted) this.#lost.abort(error);
  }
}

/** The clock and the limits of a `LeaseWatch`. */
interface LeaseWatchOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly leaseMs: number;
  /** Whether the owner of a lease is known to be gone for good. */
  readonly isGone: (owner: string) => boolean;
}

/** Watches whether other servers renew their leases. */
export class LeaseWatch {
  readonly #seen = new Map<string, { token: number; beat: number; sinceMs: number }>();
  readonly #options: LeaseWatchOptions;

  constructor(options: LeaseWatchOptions) {
    this.#options = options;
  }

  /**
   * Whether nobody works on the record. An unknown owner's lease must be seen twice before it can expire. `quietMs` is how long
   * the record's mark has told of no renewal. It counts up to a rest, because older servers renew no marks.
   */
  isFree({ id, lease }: Pick<LeasedRecord, 'id' | 'lease'>, quietMs = 0): boolean {
    const { now, leaseMs, isGone } = this.#options;
    if (!lease || isGone(lease.owner)) return true;
    const last = this.#seen.get(id);
    if (last?.token === lease.token && last.beat === lease.beat) {
      return now() - last.sinceMs >= leaseMs;
    }
    const countedMs = Math.max(0, Math.min(quietMs, leaseMs - MIN_SEEN_MS));
    this.#seen.set(id, { token: lease.token, beat: lease.beat, sinceMs: now() - countedMs });
    return false;
  }

  /** Forgets every other record. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
  }
}
