// When to stop asking a store that does not answer, and how often to ask it again. Pure: time and chance are arguments.

/** Failures in a row, of any adapters, after which nobody asks any more for a while. */
const OPENS_AFTER = 5;
const OPEN_MS = 10_000;

export class Breaker {
  #failures = 0;
  /** Set while it is open. */
  #openUntilMs: number | undefined;

  /** Milliseconds until somebody may ask; 0: now. */
  pauseMs(nowMs: number): number {
    return Math.max(0, (this.#openUntilMs ?? nowMs) - nowMs);
  }

  /** Somebody asks, and will report: after a pause it is one, on behalf of all. */
  asks(nowMs: number): void {
    if (this.#openUntilMs !== undefined) this.#openUntilMs = nowMs + OPEN_MS;
  }

  /** The store answered, be it a refusal. */
  succeeded(): void {
    this.#failures = 0;
    this.#openUntilMs = undefined;
  }

  failed(nowMs: number): void {
    this.#failures++;
    if (this.#failures >= OPENS_AFTER) this.#openUntilMs = nowMs + OPEN_MS;
  }
}

/** Second tries are at most this share of first ones, so that they do not multiply the load on a store in distress. */
const RETRY_SHARE = 0.1;
/** What may be saved up, and what there is at the start: a few faults one after the other are no distress. */
const RETRY_RESERVE = 10;

export class RetryBudget {
  #tokens = RETRY_RESERVE;

  firstTry(): void {
    this.#tokens = Math.min(RETRY_RESERVE, this.#tokens + RETRY_SHARE);
  }

  /** Whether another try is allowed; takes its share. */
  take(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
