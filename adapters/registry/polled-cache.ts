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
  readonly clock?: Clock;
  /** The most values, and the most misses, to remember. Default: 10,000, at a few hundred bytes each. */
  readonly maxRemembered?: number | undefined;
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

const MAX_REMEMBERED = 10_000;
/** How long a request waits for a slow source if an older value is at hand. */
const PATIENCE_MS = 500;

interface PolledValue<T> {
  /** Undefined if there is none. */
  readonly value: T | undefined;
  /** The time when its read began. */
  readonly readMs: number;
  /** If it may have changed since: the time until when it is known to be current. */
  readonly outdatedMs?: number;
}

interface Flight<T> {
  readonly outcome: Promise<T | undefined>;
  /** Resolves with the outcome, or earlier if that takes too long. Never rejects. */
  readonly patience: Promise<unknown>;
}

/** A cache over a changing source. */
export class PolledCache<T extends object> {
  readonly #options: PolledCacheOptions<T>;
  readonly #clock: Clock;
  readonly #values: LRUCache<string, PolledValue<T>>;
  /** Kept apart from the values, so that guessed names evict only each other. */
  readonly #misses: LRUCache<string, PolledValue<T>>;
  /** Errors of reads, and when to try again. */
  readonly #failures: LRUCache<string, { error: unknown; untilMs: number }>;
  readonly #flights = new Map<string, Flight<T>>();

  constructor(options: PolledCacheOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { maxRemembered: max = MAX_REMEMBERED } = options;
    this.#values = new LRUCache(entryLimit(max));
    this.#misses = new LRUCache(entryLimit(max));
    this.#failures = new LRUCache(entryLimit(max));
    options.feed?.onChange((names, beforeMs) => this.#outdate(names, beforeMs));
  }

  /** Returns a value that is at most `maxAgeMs` old, unless the source fails. Rejects as `read` does. */
  async get(key: string, maxAgeMs = this.#options.pollMs): Promise<T | undefined> {
    const before = this.peek(key);
    const isYoung = before && this.#clock.now() - this.#currentMs(before) <= maxAgeMs / 2;
    if (before && !isYoung) await this.#options.feed?.refresh(maxAgeMs);
    const known = this.peek(key);
    const ageMs = known ? this.#clock.now() - this.#currentMs(known) : Number.POSITIVE_INFINITY;
    if (known && ageMs <= maxAgeMs) {
      if (this.#isDue(known, maxAgeMs)) this.#refresh(key, maxAgeMs - ageMs);
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

  /** Returns until when a value is known to be current. */
  #currentMs({ readMs, outdatedMs }: PolledValue<T>): number {
    if (outdatedMs !== undefined) return Math.max(readMs, outdatedMs);
    return this.#options.feed?.confirmedMs(readMs) ?? readMs;
  }

  /** Whether to refresh a value that is young enough for now. */
  #isDue(known: PolledValue<T>, maxAgeMs: number): boolean {
    const { feed } = this.#options;
    if (known.outdatedMs !== undefined) return true;
    const isHalfOld = (sinceMs: number) => this.#clock.now() - sinceMs > maxAgeMs / 2;
    if (!isHalfOld(known.readMs)) return false;
    return feed?.covers(known.readMs, maxAgeMs) ? feed.mayReread() : true;
  }

  #outdate(names: ReadonlySet<string>, beforeMs: number): void {
    for (const part of [this.#values, this.#misses]) {
      for (const [key, known] of [...part.entries()]) {
        if (names.has(this.#nameOf(key))) part.set(key, { outdatedMs: beforeMs, ...known });
      }
    }
  }

  #nameOf(key: string): string {
    return this.#options.nameOf?.(key) ?? key;
  }

  #parts() {
    return [this.#values, this.#misses, this.#failures, this.#flights];
  }

  /** Starts a read of the key, or joins the one under way. */
  #refresh(key: string, slackMs: number): Flight<T> {
    const underWay = this.#flights.get(key);
    if (underWay) return underWay;
    const failure = this.#failures.get(key);
    if (failure && this.#clock.now() < failure.untilMs) {
      return this.#toFlight(Promise.reject(failure.error));
    }
    const flight: Flight<T> = this.#toFlight(
      this.#read(key, slackMs, (): boolean => this.#flights.get(key) === flight),
    );
    this.#flights.set(key, flight);
    return flight;
  }

  async #read(key: string, slackMs: number, isCurrent: () => boolean): Promise<T | undefined> {
    const readMs = this.#clock.now();
    await undefined; // the flight must be in the map before it ends
    try {
      const value = await this.#options.read(key, this.peek(key)?.value, { slackMs });
      if (!isCurrent()) return value;
      this.forget(key);
      const cache = value === undefined ? this.#misses : this.#values;
      const isOutdated = this.#options.feed?.isOutdated(this.#nameOf(key), readMs);
      cache.set(key, { value, readMs, ...(isOutdated && { outdatedMs: readMs }) });
      return value;
    } catch (error) {
      if (isCurrent()) {
        this.#flights.delete(key);
        const untilMs = this.#clock.now() + this.#options.pollMs / 2;
        this.#failures.set(key, { error, untilMs });
      }
      throw error;
    }
  }

  #toFlight(outcome: Promise<T | undefined>): Flight<T> {
    const ended = outcome.then(
      () => {},
      () => {},
    );
    return { outcome, patience: orAfter(ended, PATIENCE_MS, undefined, this.#clock) };
  }
}
