// Estimates from recent requests how often a slot becomes free, and how long a tenant's requests keep one. Only busy time
// counts, when something waits or all slots run: a quiet minute does not mean a slow engine.

/**
 * How many ends the pace is computed from: at least two rounds of the slots, because sequences that start together end
 * together.
 */
const MIN_WINDOW = 64;
const TURNS = 2;
/** With fewer ends, or fewer requests of a tenant, there is no estimate. */
const MIN_ENDS = 8;
const MIN_SERVED = 4;
/** A tenant's means cover roughly this many of its latest requests. */
const MEANS_OVER = 16;
/** A request that took much longer than its estimate counts as three times as long. */
const MAX_ERROR = 2;
/** How many tenants are remembered. The least recently served one is forgotten first. */
const MAX_TENANTS = 1024;

/** A sequence that had a slot and has ended. */
export interface Served {
  readonly tenant: string;
  /** How long it held the slot. */
  readonly ms: number;
  readonly tokens: number;
  /** The max tokens that it might have generated. */
  readonly maxTokens: number;
  /** Whether its deadline cut it off. It would have taken longer. */
  readonly isCutOff: boolean;
}

/** The means of a tenant's requests. */
interface Means {
  count: number;
  ms: number;
  tokens: number;
  maxTokens: number;
  /** The mean squared error of the estimates, relative to the estimate. */
  variance: number;
}

/** Estimates from the most recently ended requests. */
export class RecentService {
  readonly #now: () => number;
  /** Milliseconds of busy time so far, excluding the time since `#busySinceMs`. */
  #busyMs = 0;
  #busySinceMs: number | undefined;
  /** When sequences ended, in busy time. The first number begins the window. */
  #ends = [0];
  readonly #means = new Map<string, Means>();

  /** @param now returns monotonic milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Sets whether, from now on, something waits or all slots run. */
  note(isBusy: boolean): void {
    if (isBusy) this.#busySinceMs ??= this.#now();
    else {
      this.#busyMs = this.#busyTime();
      this.#busySinceMs = undefined;
    }
  }

  /**
   * Counts the end of a sequence with a slot. `served` is absent if it failed. In idle time the end counts as if all slots had
   * been busy for its part of the time, so that a faster engine is noticed before it is busy again.
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

  /** Milliseconds of busy time until this many slots become free. Before the first end, assumes that one ends now. */
  waitMs(slots: number): number {
    const count = Math.max(1, this.#ends.length - 1);
    return (slots * (this.#busyTime() - this.#ends[0]!)) / count;
  }

  /**
   * How long a tenant's request keeps its slot, unless it is unusual: the estimate plus one standard deviation. 0 if nothing is
   * known. `maxTokens` defaults to the tenant's mean.
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
    if (isCutOff && served.ms <= expectedMs) return; // an early cut-off gives no information
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

/** The mean, assuming that a request uses the same share of its max tokens as the tenant's other requests. */
function estimate({ ms, tokens, maxTokens: usualMax }: Means, maxTokens = usualMax): number {
  const share = usualMax === 0 ? 0 : tokens / usualMax;
  return (ms * (1 + share * maxTokens)) / (1 + tokens); // the prompt counts as a token
}
