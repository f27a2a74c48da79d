// Decides whether a sequence may wait for the engine. Bounds the waiting sequences and the tokens of their prompts, for each
// tenant and in all, and estimates from the queue when a refused client should try again. Knows counts, no sequences.
import { ServeError } from '../common/errors.ts';

/** How much may wait for a slot. */
export interface AdmissionLimits {
  /** Sequences of all tenants. */
  readonly maxWaiting: number;
  /** Sequences of one tenant, which cannot fill the queue alone. Default: `maxWaiting`. */
  readonly maxWaitingPerTenant?: number | undefined;
  /** Prompt tokens of all tenants. Default: half of what `maxWaiting` prompts of full length have. A tenant has its share. */
  readonly maxWaitingTokens?: number | undefined;
}

/** The limits if no others are set. */
export const DEFAULT_ADMISSION: AdmissionLimits = { maxWaiting: 256 };

/** The slots of the engine. What fits into free ones does not wait. */
export interface Slots {
  readonly slotCount: number;
  readonly maxSeqLength: number;
}

/** A sequence as the queue counts it. */
export interface Waiting {
  readonly tenant: string;
  readonly promptTokens: number;
}

/** The starts that the estimate of a wait is based on. */
const MAX_STARTS = 64;
const MAX_RETRY_S = 60;

/** The sequences and prompt tokens that wait. */
interface Count {
  sequences: number;
  tokens: number;
}

/** Counts what waits, and refuses what would be too much. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #now: () => number;
  readonly #all: Count = { sequences: 0, tokens: 0 };
  /** The tenants of which something waits. */
  readonly #tenants = new Map<string, Count>();
  #running = 0;
  /** When the latest sequences got their slots, oldest first. */
  readonly #starts: number[] = [];

  /** `now` returns monotonic milliseconds. */
  constructor(limits: AdmissionLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /**
   * Returns why a sequence may not wait, with the time of another try: `overloaded` if the queue is full,
   * `rate_limit_exceeded` if the tenant's share of it is. Undefined if it may.
   */
  refusal({ tenant, promptTokens }: Waiting, slots: Slots): ServeError | undefined {
    const { maxWaiting, maxWaitingPerTenant = maxWaiting } = this.#limits;
    const full: Count = {
      sequences: maxWaiting,
      tokens: this.#limits.maxWaitingTokens ?? (maxWaiting * slots.maxSeqLength) / 2,
    };
    const share = maxWaitingPerTenant / maxWaiting;
    const fullOfOwn: Count = { sequences: maxWaitingPerTenant, tokens: full.tokens * share };
    const own = this.#tenants.get(tenant) ?? { sequences: 0, tokens: 0 };
    const free = Math.max(0, slots.slotCount - this.#running);
    const exceeds = (waiting: Count, limit: Count) =>
      waiting.sequences >= limit.sequences + free ||
      waiting.tokens + promptTokens > limit.tokens + free * slots.maxSeqLength;
    if (exceeds(this.#all, full)) {
      const message = 'Too many requests are waiting. Try again later.';
      return new ServeError('overloaded', message, { retryAfterS: this.#waitS(this.#all) });
    }
    if (!exceeds(own, fullOfOwn)) return undefined;
    // Tenants take turns, so each has its share of the starts.
    const turns = { ...own, sequences: own.sequences * this.#tenants.size };
    const message = 'Too many of your requests are waiting. Wait until some of them are answered.';
    return new ServeError('rate_limit_exceeded', message, { retryAfterS: this.#waitS(turns) });
  }

  /** Counts a sequence that waits. */
  enter({ tenant, promptTokens }: Waiting): void {
    const own = this.#tenants.get(tenant) ?? { sequences: 0, tokens: 0 };
    this.#tenants.set(tenant, own);
    for (const count of [this.#all, own]) {
      count.sequences++;
      count.tokens += promptTokens;
    }
  }

  /** Counts a waiting sequence as running. */
  start(sequence: Waiting): void {
    this.leave(sequence);
    this.#running++;
    this.#starts.push(this.#now());
    if (this.#starts.length > MAX_STARTS) this.#starts.shift();
  }

  /** Forgets a waiting sequence. */
  leave({ tenant, promptTokens }: Waiting): void {
    const own = this.#tenants.get(tenant)!;
    for (const count of [this.#all, own]) {
      count.sequences--;
      count.tokens -= promptTokens;
    }
    if (own.sequences === 0) this.#tenants.delete(tenant);
  }

  /** Forgets a running sequence. */
  end(): void {
    this.#running--;
  }

  /** The seconds until the waiting sequences have their slots, at the pace of the last minute. */
  #waitS({ sequences }: Pick<Count, 'sequences'>): number {
    const now = this.#now();
    const recent = this.#starts.filter((atMs) => now - atMs < MAX_RETRY_S * 1000);
    const [first] = recent;
    if (first === undefined) return MAX_RETRY_S;
    const waitMs = (sequences * Math.max(1, now - first)) / recent.length;
    return Math.min(MAX_RETRY_S, Math.max(1, Math.ceil(waitMs / 1000)));
  }
}
