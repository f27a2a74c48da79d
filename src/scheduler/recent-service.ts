// Estimates from recent requests how often a slot becomes free, and how long a tenant's requests keep one. The pace is that of
// busy time, in which something waits or all slots run: a quiet minute is no slow one. Knows no queue.

/** The ends that the pace follows from: two turns of the slots at least, because sequences that start together end together. */
const MIN_WINDOW = 64;
const TURNS = 2;
/** With fewer ends, or fewer requests of a tenant, nothing is known. */
const MIN_ENDS = 8;
const MIN_SERVED = 4;
/** The latest requests of a tenant that its means follow from, roughly. */
const MEANS_OVER = 16;
/** A request that took much longer than its estimate counts as three times as long. */
const MAX_ERROR = 2;
/** Tenants whose requests are remembered. The one that was served least recently is forgotten. */
const MAX_TENANTS = 1024;

/** A sequence that had a slot and has ended. */
export interface Served {
  readonly tenant: string;
  /** How long it had the slot. */
  readonly ms: number;
  readonly tokens: number;
  /** The most tokens that it might have generated. */
  readonly maxTokens: number;
  /** Whether it was ended because its time was over. It would have taken longer. */
  readonly isCutOff: boolean;
}

/** The means of a tenant's requests. */
interface Means {
  count: number;
  ms: number;
  tokens: number;
  maxTokens: number;
  /** The square of how far a request was off its estimate, as a share of it. */
  variance: number;
}

/** Estimates from the requests that ended last. */
export class RecentService {
  readonly #now: () => number;
  /** Milliseconds of busy time so far, without the time since `#busySinceMs`. */
  #busyMs = 0;
  #busySinceMs: number | undefined;
  /** When sequences ended, in busy time. The first number begins the window. */
  #ends = [0];
  readonly #means = new Map<string, Means>();

  /** `now` returns monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Says whether something waits or all slots run from now on. */
  note(isBusy: boolean): void {
    if (isBusy) this.#busySinceMs ??= this.#now();
    else {
      this.#busyMs = this.#busyTime();
      this.#busySinceMs = undefined;
    }
  }

  /**
   * Counts the end of a sequence with a slot; `served` is absent if it failed. In idle time, it counts as if all slots had been
   * busy: with its part of the time. So an engine that has become faster is known before it is busy again.
   */
  ended(slotCount: number, served?: Served): void {
    if (this.#busySinceMs === undefined) this.#busyMs += (served?.ms ?? 0) / slotCount;
    this.#ends.push(this.#busyTime());
    while (this.#ends.length > 1 + Math.max(MIN_WINDOW, TURNS * slotCount)) this.#ends.shift();
    if (served) this.#addToMeans(served);
  }

  /** Forgets everything, because another engine starts. */
  forget(): void {
    this.note(false);
    this.#ends = [this.#busyMs];
    this.#means.clear();
  }

  /** Whether enough has ended for an estimate. */
  get isKnown(): boolean {
    return this.#ends.length > MIN_ENDS;
  }

  /** The milliseconds of busy time until so many slots have become free. Before anything has ended: as if one did now. */
  waitMs(slots: number): number {
    const count = Math.max(1, this.#ends.length - 1);
    return (slots * (this.#busyTime() - this.#ends[0]!)) / count;
  }

  /**
   * How long a request of the tenant keeps its slot, unless it is unusual: the estimate and one standard deviation. 0 if nothing is
   * known. An absent `maxTokens` is that of others.
   */
  serviceMs(tenant: string, maxTokens?: number): number {
    const means = this.#means.get(tenant);
    if (!means || means.count < MIN_SERVED) return 0;
    return estimate(means, maxTokens) * (1 + Math.sqrt(means.variance));
  }

  #addToMeans({ tenant, isCutOff, ...served }: Served): void {
    const none = { count: 0, ms: 0, tokens: 0, maxTokens: 0, variance: 0 };
    const means = this.#means.get(tenant) ?? none;
    const expectedMs = estimate(means, served.maxTokens);
    if (isCutOff && served.ms <= expectedMs) return; // says nothing
    means.count++;
    const weight = Math.max(1 / means.count, 1 / MEANS_OVER);
    const error = expectedMs > 0 ? Math.min(MAX_ERROR, served.ms / expectedMs - 1) : 0;
    means.variance += weight * (error ** 2 - means.variance);
    for (const key of ['ms', 'tokens', 'maxTokens'] as const) {
      means[key] += weight * (served[key] - means[key]);
    }
    this.#means.delete(tenant);
    this.#means.set(tenant, means);
    if (this.#means.size > MAX_TENANTS) this.#means.delete(this.#means.keys().next().value!);
  }

  #busyTime(): number {
    return this.#busyMs + (this.#busySinceMs === undefined ? 0 : this.#now() - this.#busySinceMs);
  }
}

/** The mean. An answer has as large a share of its limit as other answers of the tenant together have of theirs. */
function estimate({ ms, tokens, maxTokens: usualMax }: Means, maxTokens = usualMax): number {
  const share = usualMax === 0 ? 0 : tokens / usualMax;
  return (ms * (1 + share * maxTokens)) / (1 + tokens); // the prompt counts as a token
}
