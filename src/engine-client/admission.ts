// Decides whether a sequence may wait for the engine. Bounds the waiting sequences and their prompt tokens, per tenant and in
// total, refuses what could not be answered in time, and estimates when a refused client should try again. Works on counts, not
// on sequences.
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import type { EngineInfo } from '../contracts/engine.ts';
import type { RequestTime } from '../contracts/generation.ts';
import type { Payer } from '../scheduler/fair-queue.ts';
import { hasLessThanItsShare } from '../scheduler/slot-allocator.ts';
import { RecentService, type Served } from './recent-service.ts';

/** How much may wait for a slot. */
export interface AdmissionLimits {
  /** Sequences of all tenants. */
  readonly maxWaiting: number;
  /** Sequences of one tenant, which cannot fill the queue alone. Default: `maxWaiting`. */
  readonly maxWaitingPerTenant?: number | undefined;
  /**
   * Prompt tokens of all tenants. Default: half the tokens of `maxWaiting` prompts of full length. Each tenant gets its share.
   */
  readonly maxWaitingTokens?: number | undefined;
  /** How many slots are reserved for tenants below their share of the others. Default: 0. */
  readonly reservedSlots?: number;
}

/** The default limits. */
export const DEFAULT_ADMISSION: AdmissionLimits = { maxWaiting: 256 };

/** The limits of idle sequences. A batch limits its own requests, and each may have up to 64 sequences in the engine. */
export const IDLE_ADMISSION: AdmissionLimits = { maxWaiting: 8192 };

/** The engine's slots. A sequence that fits into a free one does not wait. */
type Slots = Pick<EngineInfo, 'slotCount' | 'maxSeqLength'>;

/** A waiting sequence, as the limits count it. */
export interface Waiting {
  readonly tenant: string;
  /** The tenant's share relative to other tenants. */
  readonly weight: number;
  /** Whether it only uses slots that no other sequence wants. */
  readonly isIdle?: true | undefined;
  readonly promptTokens: number;
  /** The max tokens that it may generate. Absent if not known. */
  readonly maxTokens?: number | undefined;
  /** Its deadline. Absent if it has none. */
  readonly time?: RequestTime | undefined;
}

const MAX_RETRY_S = 60;

/** The number of waiting sequences and of their prompt tokens. */
interface Count {
  sequences: number;
  tokens: number;
}

/** The number of a tenant's waiting sequences and of their prompt tokens. */
interface TenantCount extends Count {
  weight: number;
}

/** The limits, the slots and the clock of an admission. */
interface AdmissionOptions {
  readonly limits: AdmissionLimits;
  /** Called only once the engine has been ready. */
  readonly slots: () => Slots;
  /** Returns monotonic milliseconds. */
  readonly now: () => number;
}

/** Counts what waits, and refuses what would be too much or too late. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #recent: RecentService;
  readonly #all: Count = { sequences: 0, tokens: 0 };
  /** The tenants with waiting sequences. */
  readonly #tenants = new Map<string, TenantCount>();
  /** The sequences with slots. */
  readonly #started: Payer[] = [];

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#recent = new RecentService(options.now);
  }

  /**
   * Returns the reason that a sequence may not wait, with the time after which to retry: `overloaded` if the queue is full or
   * too long for its deadline, `rate_limit_exceeded` if the tenant's share of the queue is. Undefined if it may wait.
   */
  refusal(sequence: Waiting): ServeError | undefined {
    return this.#refusalOfFull(sequence) ?? this.#refusalOfLate(sequence);
  }

  /** Whether a waiting sequence has too little time left to be worth a slot. */
  isLate(sequence: Waiting): boolean {
    const { tenant, maxTokens, time } = sequence;
    if (!time || !this.#recent.isKnown) return false;
    if (this.#freeFor(sequence) >= this.#all.sequences) return false;
    const leftMs = time.endsAtMs - this.#options.now();
    return this.#recent.serviceMs(tenant, maxTokens) > leftMs;
  }

  /** Counts a sequence that waits. */
  enter({ tenant, weight, promptTokens }: Waiting): void {
    const ofTenant = { sequences: 0, tokens: 0, ...this.#tenants.get(tenant), weight };
    this.#tenants.set(tenant, ofTenant);
    for (const count of [this.#all, ofTenant]) {
      count.sequences++;
      count.tokens += promptTokens;
    }
    this.#noteBusy();
  }

  /** Counts a waiting sequence as running. */
  start(sequence: Waiting): void {
    this.#started.push(sequence);
    this.leave(sequence);
  }

  /** Forgets a waiting sequence. */
  leave({ tenant, promptTokens }: Waiting): void {
    const ofTenant = this.#tenants.get(tenant)!;
    for (const count of [this.#all, ofTenant]) {
      count.sequences--;
      count.tokens -= promptTokens;
    }
    if (ofTenant.sequences === 0) this.#tenants.delete(tenant);
    this.#noteBusy();
  }

  /** Forgets a tenant's running sequence. `served` is absent if the sequence failed. */
  end(tenant: string, served?: Served): void {
    this.#recent.ended(this.#options.slots().slotCount, served);
    const i = this.#started.findIndex((started) => started.tenant === tenant);
    assert(i >= 0, 'a sequence ends that has started');
    this.#started.splice(i, 1);
    this.#noteBusy();
  }

  /** Forgets the engine's speed, because another engine starts. Nothing runs. */
  restarted(): void {
    this.#recent.forget();
    this.#recent.note(this.#all.sequences > 0);
  }

  #refusalOfFull({ tenant, weight, promptTokens }: Waiting): ServeError | undefined {
    const { maxWaiting, maxWaitingPerTenant = maxWaiting, maxWaitingTokens } = this.#options.limits;
    const { maxSeqLength } = this.#options.slots();
    const maxTokens = maxWaitingTokens ?? (maxWaiting * maxSeqLength) / 2;
    const ofTenant = this.#tenants.get(tenant) ?? { sequences: 0, tokens: 0 };
    const free = this.#free();
    const exceeds = (waiting: Count, maxSequences: number) =>
      waiting.sequences >= maxSequences + free ||
      waiting.tokens + promptTokens > (maxTokens * maxSequences) / maxWaiting + free * maxSeqLength;
    if (exceeds(this.#all, maxWaiting)) {
      const message = 'Too many requests are waiting. Try again later.';
      const retryAfterS = toRetryS(this.#recent.waitMs(this.#all.sequences));
      return new ServeError('overloaded', message, { retryAfterS });
    }
    if (!exceeds(ofTenant, maxWaitingPerTenant)) return undefined;
    const message = 'Too many of your requests are waiting. Wait until some of them are answered.';
    const turns = this.#turns({ tenant, weight }, ofTenant.sequences);
    const retryAfterS = toRetryS(this.#recent.waitMs(turns));
    return new ServeError('rate_limit_exceeded', message, { retryAfterS });
  }

  /**
   * Returns the reason that a sequence would probably miss its deadline. Never refuses if a slot is free, or while too little
   * is known.
   */
  #refusalOfLate(sequence: Waiting): ServeError | undefined {
    const { tenant, maxTokens, time } = sequence;
    if (!time || !this.#recent.isKnown) return undefined;
    if (this.#freeFor(sequence) > this.#all.sequences) return undefined;
    const leftMs = time.endsAtMs - this.#options.now();
    const serviceMs = this.#recent.serviceMs(tenant, maxTokens);
    const ofTenant = this.#tenants.get(tenant)?.sequences ?? 0;
    const answerMs = (ownBefore: number) => this.#waitMs(sequence, ownBefore) + serviceMs;
    const neededMs = answerMs(ofTenant);
    if (neededMs <= leftMs) return undefined;
    const isOwnFault = this.#all.sequences > ofTenant && answerMs(0) <= leftMs;
    const retryAfterS = toRetryS(Math.min(neededMs - leftMs, neededMs - serviceMs));
    const times = `an answer would take about ${Math.ceil(neededMs / 1000)} s, and the request's time limit is ${time.ms} ms`;
    if (isOwnFault) {
      const message = `Many of your requests are waiting: ${times}. Wait until some of them are answered.`;
      return new ServeError('rate_limit_exceeded', message, { retryAfterS });
    }
    const message = `Many requests are waiting: ${times}. Try again later, or with a longer x-request-timeout-ms.`;
    return new ServeError('overloaded', message, { retryAfterS });
  }

  /** How long a sequence waits for a slot if this many of its tenant's sequences are ahead of it. */
  #waitMs(sequence: Waiting, ownBefore: number): number {
    const slots = this.#turns(sequence, ownBefore + 1) - this.#freeFor(sequence);
    return this.#recent.waitMs(Math.max(0, slots));
  }

  /**
   * How many sequences of all tenants start before this many of one tenant have. Tenants alternate, in proportion to their
   * weights.
   */
  #turns({ tenant, weight }: Payer, count: number): number {
    let turns = count;
    for (const [other, { sequences, weight: otherWeight }] of this.#tenants) {
      if (other !== tenant) turns += Math.min(sequences, (count * otherWeight) / weight);
    }
    return turns;
  }

  #free(): number {
    return Math.max(0, this.#options.slots().slotCount - this.#started.length);
  }

  /** The free slots that a sequence of this tenant may get. */
  #freeFor(sequence: Payer): number {
    const { reservedSlots = 0 } = this.#options.limits;
    const free = this.#free();
    if (reservedSlots === 0 || free === 0) return free;
    const openSlots = this.#options.slots().slotCount - reservedSlots;
    const mayUseReserved = hasLessThanItsShare(sequence, this.#started, openSlots);
    return mayUseReserved ? free : Math.max(0, free - reservedSlots);
  }

  #noteBusy(): void {
    this.#recent.note(this.#all.sequences > 0 || this.#free() === 0);
  }
}

function toRetryS(ms: number): number {
  return Math.min(MAX_RETRY_S, Math.max(1, Math.ceil(ms / 1000)));
}
