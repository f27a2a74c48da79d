// What somebody else may change, remembered for a poll time: hits, misses and failures alike. A value is read again in
// the background from half of its time on, so that what is in use is never waited for; one whose source fails goes
// on being served. It knows neither names nor stores: how a key is read is an argument.
import { LRUCache } from 'lru-cache';
import { orAfter } from '../../src/common/waiting.ts';

export interface PolledCacheOptions<T extends object> {
  /** Undefined: there is none. `known` is what was read before. */
  read(key: string, known: T | undefined, call: PollCall): Promise<T | undefined>;
  /** How old an answer may be. */
  readonly pollMs: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export interface PollCall {
  /** Until then nobody needs the answer: the old one is young enough. 0: somebody waits. */
  readonly slackMs: number;
}

/** A name and its few hundred bytes; more are read again when they were forgotten. */
const MAX_VALUES = 10_000;
/** Apart from the values, so that whoever guesses names pushes out guesses only. */
const MAX_MISSES = 10_000;
/** How long a request waits for a slow source while an older value is at hand. */
const PATIENCE_MS = 500;

interface Answer<T> {
  /** Undefined: there is none. */
  readonly value: T | undefined;
  /** When its read began. */
  readonly readMs: number;
}

interface Flight<T> {
  readonly outcome: Promise<T | undefined>;
  /** Ends with the outcome, or before it where that takes long; never rejects. */
  readonly patience: Promise<unknown>;
}

export class PolledCache<T extends object> {
  readonly #options: PolledCacheOptions<T>;
  readonly #now: () => number;
  readonly #values = new LRUCache<string, Answer<T>>({ max: MAX_VALUES });
  readonly #misses = new LRUCache<string, Answer<T>>({ max: MAX_MISSES });
  /** What a read threw, and until when it is not tried again. */
  readonly #failures = new LRUCache<string, { error: unknown; untilMs: number }>({
    max: MAX_MISSES,
  });
  readonly #flights = new Map<string, Flight<T>>();

  constructor(options: PolledCacheOptions<T>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Not older than the poll time, or than `maxAgeMs`; older only while the source fails. Rejects as `read` does. */
  async get(key: string, maxAgeMs = this.#options.pollMs): Promise<T | undefined> {
    const answer = this.peek(key);
    const ageMs = answer ? this.#now() - answer.readMs : Number.POSITIVE_INFINITY;
    if (answer && ageMs <= maxAgeMs) {
      if (ageMs > maxAgeMs / 2) this.#refresh(key, maxAgeMs - ageMs);
      return answer.value;
    }
    const flight = this.#refresh(key, 0);
    if (!answer) return flight.outcome;
    await flight.patience;
    return (this.peek(key) ?? answer).value;
  }

  /** As it is now, whatever is remembered. One read at a time: who asks during one gets its answer. */
  renew(key: string): Promise<T | undefined> {
    return this.#refresh(key, 0).outcome;
  }

  /** What is remembered, however old. */
  peek(key: string): Answer<T> | undefined {
    return this.#values.get(key) ?? this.#misses.get(key);
  }

  /** The next `get` reads, and what is being read now is not kept: somebody here has changed it. */
  forget(key: string): void {
    for (const part of this.#parts()) part.delete(key);
  }

  forgetAll(prefix: string): void {
    for (const part of this.#parts()) {
      for (const key of [...part.keys()]) if (key.startsWith(prefix)) part.delete(key);
    }
  }

  #parts() {
    return [this.#values, this.#misses, this.#failures, this.#flights];
  }

  /** One read at a time for each key. */
  #refresh(key: string, slackMs: number): Flight<T> {
    const underWay = this.#flights.get(key);
    if (underWay) return underWay;
    const failure = this.#failures.get(key);
    if (failure && this.#now() < failure.untilMs) return toFlight(Promise.reject(failure.error));
    const flight: Flight<T> = toFlight(
      this.#read(key, slackMs, (): boolean => this.#flights.get(key) === flight),
    );
    this.#flights.set(key, flight);
    return flight;
  }

  async #read(key: string, slackMs: number, isCurrent: () => boolean): Promise<T | undefined> {
    const readMs = this.#now();
    await undefined; // the flight is known before it ends
    try {
      const value = await this.#options.read(key, this.peek(key)?.value, { slackMs });
      if (!isCurrent()) return value;
      this.forget(key);
      const answers = value === undefined ? this.#misses : this.#values;
      answers.set(key, { value, readMs });
      return value;
    } catch (error) {
      if (isCurrent()) {
        this.#flights.delete(key);
        const untilMs = this.#now() + this.#options.pollMs / 2;
        this.#failures.set(key, { error, untilMs });
      }
      throw error;
    }
  }
}

function toFlight<T>(outcome: Promise<T | undefined>): Flight<T> {
  const ended = outcome.then(
    () => {},
    () => {},
  );
  return { outcome, patience: orAfter(ended, PATIENCE_MS, undefined) };
}
