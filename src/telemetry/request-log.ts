// The generations that are running, and the last ones that have ended: names, counts and times, never text. Tenants and operators
// see why a request is slow. A line of a batch is only listed while it runs: thousands of them would push out all others.

/** The facts about a generation at its start. */
export interface RequestFacts {
  /** The request's `x-request-id`. */
  readonly id: string;
  readonly tenant: string;
  /** As the request names it. */
  readonly model: string;
  readonly hasAdapter: boolean;
  /** Whether it is a line of a batch. */
  readonly isIdle: boolean;
  readonly promptTokens: number;
  /** In monotonic milliseconds, as all times here. */
  readonly startMs: number;
}

/** A generation: its facts, and when its first sequence reached each phase. */
export interface RequestRecord extends RequestFacts {
  /** Its adapter and its constraint are loaded. */
  readyMs?: number;
  /** It got a KV slot. */
  admittedMs?: number;
  firstTokenMs?: number;
  tokens: number;
  /** Absent while it runs. `outcome` is `ok`, `aborted` or the error's code. */
  end?: { readonly atMs: number; readonly outcome: string };
}

/** The phase of a generation. */
export type RequestState = 'loading' | 'queued' | 'prefill' | 'decode' | 'ended';

/** About 300 bytes each. */
const MAX_ENDED = 200;

/** Keeps the records. The engine's queue limits how many are running. */
export class RequestLog {
  readonly #running = new Set<RequestRecord>();
  /** Oldest first. */
  readonly #ended: RequestRecord[] = [];

  begin(facts: RequestFacts): RequestRecord {
    const record = { ...facts, tokens: 0 };
    this.#running.add(record);
    return record;
  }

  end(record: RequestRecord, end: NonNullable<RequestRecord['end']>): void {
    record.end = end;
    this.#running.delete(record);
    if (record.isIdle) return;
    this.#ended.push(record);
    if (this.#ended.length > MAX_ENDED) this.#ended.shift();
  }

  /** Returns the records of a tenant, or of all: the running ones in order of arrival, then the ended ones, newest first. */
  list(tenant: string | undefined): RequestRecord[] {
    const all = [...this.#running, ...this.#ended.toReversed()];
    return tenant === undefined ? all : all.filter((record) => record.tenant === tenant);
  }
}

/** Returns the phase that a generation is in. */
export function stateOf(record: RequestRecord): RequestState {
  if (record.end) return 'ended';
  if (record.firstTokenMs !== undefined) return 'decode';
  if (record.admittedMs !== undefined) return 'prefill';
  return record.readyMs === undefined && record.hasAdapter ? 'loading' : 'queued';
}

/** Returns the durations of the phases that a generation has begun, in milliseconds, up to now or to its end. */
export function durationsOf(record: RequestRecord, nowMs: number) {
  const { startMs, admittedMs, firstTokenMs, end } = record;
  const endMs = end?.atMs ?? nowMs;
  return {
    waiting: (admittedMs ?? endMs) - startMs,
    prefill: admittedMs === undefined ? undefined : (firstTokenMs ?? endMs) - admittedMs,
    decode: firstTokenMs === undefined ? undefined : endMs - firstTokenMs,
  };
}
