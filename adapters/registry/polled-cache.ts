// A cache of values that others may change. Hits, misses and failures are remembered for a poll interval, or as long as a feed
// of changes confirms them. Halfway through the interval a value is refreshed in the background, so a value in use never makes
// a request wait. If the source fails, the old value is still served.
import { LRUCache } from 'lru-cache';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { type Clock, orAfter, systemClock } from '../../src/common/waiting.ts';
import type { ChangeFeed } from './change-feed.ts';

/** The source and the limits of a polled cache. */
interface PolledCacheOptions<T extends object> {
  /** Reads a value; undefined if there is none. `known` is the value from the last read. */
  read(key: string, known: T | undefined, call: PollCall): Promise<T | undefined>;
  /** The maximum age of a value. */
  readonly pollMs: number;
  /** For how long at least to rely on the feed alone. Default: 15 minutes. */
  readonly trustMs?: number;
  readonly clock?: Clock;
  /** How many values, and how many misses, to remember. Default: 10,000, at a few hundred bytes each. */
  readonly limit?: LRUCache.Options<string, PolledValue<T>, unknown>;
  /** Tells which names change. Absent: every value is read again after its poll interval. */
  readonly feed?: ChangeFeed;
  /** Returns the name (`owner/name`) that a key belongs to. Default: the key. */
  nameOf?(key: string): string;
}

/** How urgent a read is. */
export interface PollCall {
  /** Milliseconds until the old value is too old. 0 if a request waits. */
  readonly slackMs: number;
}

const LIMIT = entryLimit(10_000);
/** How long a request waits for a slow source if an older value is at hand. */
const PATIENCE_MS = 500;
/** A value is read again after this time, or up to twice as long, because somebody may have changed it without a notice. */
const TRUST_MS = 900_000;

interface PolledValue<T> {
  /** Undefined if there is none. */
  readonly value: T | undefined;
  /** The time when its read began. */
  readonly readMs: number;
  readonly trustedMs: number;
  /** If it may have changed since: the time until when it is known to be current. */
  readonly outdatedMs?: number;
}

interface Flight<T> {
  readonly outcome: Promise<T | undefined>;
  /** Resolves with the outcome, or earlier if that takes too long. Never rejects. */
  readonly patience: Promise<unknown>;
  /** Whether the value may have changed since the read began. */
  isOutdated: boolean;
  /** Infinite, or until when not to try again after a failure. */
  untilMs: number;
}

/** A cache over a changing source. */
export class PolledCache<T extends object> {
  readonly #options: PolledCacheOptions<T>;
  readonly #clock: Clock;
  readonly #values: LRUCache<string, PolledValue<T>>;
  /** Kept apart from the values, so that guessed names evict only each other. */
  readonly #misses: LRUCache<string, PolledValue<T>>;
  /** Reads under way, and failed ones until the next try. */
  readonly #flights = new LRUCache<string, Flight<T>>(LIMIT);

  constructor(options: PolledCacheOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { limit = LIMIT } = options;
    this.#values = new LRUCache(limit);
    this.#misses = new LRUCache(limit);
    options.feed?.onChange((names, beforeMs) => this.#outdate(names, beforeMs));
  }

  /** Returns a value that is at most `maxAgeMs` old, unless the source fails. Rejects as `read` does. */
  async get(key: string, maxAgeMs = this.#options.pollMs): Promise<T | undefined> {
    const before = this.peek(key);
    if (before && this.#ageMs(before) > maxAgeMs / 2) await this.#options.feed?.refresh(maxAgeMs);
    const known = this.peek(key);
    const slackMs = known ? maxAgeMs - this.#ageMs(known) : Number.NEGATIVE_INFINITY;
    if (known && slackMs >= 0) {
      if (this.#isDue(known, maxAgeMs)) this.#refresh(key, slackMs);
      return known.value;
    }
    const flight = this.#refresh(key, 0);
    if (!known) return flight.outcome;
    await flight.patience;
    const now = this.peek(key);
    // A value that was forgotten during the read predates a change, and others may have got a newer one.
    return now ? now.value : this.get(key, maxAgeMs);
  }

  /** Reads a value now, even if one is remembered. Calls during a read share it. */
  renew(key: string): Promise<T | undefined> {
    return this.#refresh(key, 0).outcome;
  }

  /** Returns the remembered value, however old it is. */
  peek(key: string): PolledValue<T> | undefined {
    return this.#values.get(key) ?? this.#misses.get(key);
  }

  /** Forgets a key that the caller has changed. The result of a read under way is not kept either. */
  forget(key: string): void {
    for (const part of this.#parts()) part.delete(key);
  }

  /** Forgets all keys with this prefix. */
  forgetAll(prefix: string): void {
    for (const part of this.#parts()) {
      for (const key of [...part.keys()]) if (key.startsWith(prefix)) part.delete(key);
    }
  }

  /** Returns for how long a value has not been known to be current. */
  #ageMs({ readMs, outdatedMs }: PolledValue<T>): number {
    const { feed } = this.#options;
    const confirmedMs = outdatedMs ?? feed?.confirmedMs(readMs) ?? readMs;
    return this.#clock.now() - Math.max(readMs, confirmedMs);
  }

  /** Whether to refresh a value that is young enough for now. */
  #isDue({ readMs, trustedMs, outdatedMs }: PolledValue<T>, maxAgeMs: number): boolean {
    if (outdatedMs !== undefined) return true;
    const nowMs = this.#clock.now();
    const isFollowed = nowMs < trustedMs && this.#options.feed?.covers(readMs, maxAgeMs);
    return !isFollowed && nowMs - readMs > maxAgeMs / 2;
  }

  #outdate(names: ReadonlySet<string>, beforeMs: number): void {
    const { nameOf = (key) => key } = this.#options;
    for (const part of [this.#values, this.#misses]) {
      for (const [key, known] of [...part.entries()]) {
        if (names.has(nameOf(key))) part.set(key, { outdatedMs: beforeMs, ...known });
      }
    }
    for (const [key, flight] of this.#flights) flight.isOutdated ||= names.has(nameOf(key));
  }

  #parts() {
    return [this.#values, this.#misses, this.#flights];
  }

  /** Starts a read of the key, or joins the one under way. */
  #refresh(key: string, slackMs: number): Flight<T> {
    const last = this.#flights.get(key);
    if (last && this.#clock.now() < last.untilMs) return last;
    const outcome = this.#read(key, slackMs, () => flight);
    const ended = outcome.then(
      () => {},
      () => {},
    );
    const patience = orAfter(ended, PATIENCE_MS, undefined, this.#clock);
    const flight: Flight<T> = {
      outcome,
      patience,
      isOutdated: false,
      untilMs: Number.POSITIVE_INFINITY,
    };
    this.#flights.set(key, flight);
    return flight;
  }

  /** Reads a value, and keeps the result unless the key was forgotten meanwhile. */
  async #read(key: string, slackMs: number, flightOf: () => Flight<T>): Promise<T | undefined> {
    const nowMs = this.#clock.now();
    await undefined; // the flight must be in the map before it ends
    const flight = flightOf();
    try {
      const value = await this.#options.read(key, this.peek(key)?.value, { slackMs });
      if (this.#flights.get(key) !== flight) return value;
      this.forget(key);
      const cache = value === undefined ? this.#misses : this.#values;
      const { random = Math.random } = this.#clock;
      const trustedMs = nowMs + (this.#options.trustMs ?? TRUST_MS) * (1 + random());
      const outdated = flight.isOutdated && { outdatedMs: nowMs };
      cache.set(key, { value, readMs: nowMs, trustedMs, ...outdated });
      return value;
    } catch (error) {
      flight.untilMs = this.#clock.now() + this.#options.pollMs / 2;
      throw error;
    }
  }
}
