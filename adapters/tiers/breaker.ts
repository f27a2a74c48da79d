// A circuit breaker and a retry budget for a store that does not answer. Both are pure: time is an argument.

/** Failures in a row, of any adapters, that open the breaker. */
const OPENS_AFTER = 5;
const OPEN_MS = 10_000;

/** Stops calls for a while after several failures in a row. */
export class CircuitBreaker {
  #failures = 0;
  /** Set while it is open. */
  #openUntilMs: number | undefined;

  /** Returns the milliseconds until the next call may start. */
  pauseMs(nowMs: number): number {
    return Math.max(0, (this.#openUntilMs ?? nowMs) - nowMs);
  }

  /** Notes that a call starts. If the breaker was open it stays so for others, until this call reports its result. */
  started(nowMs: number): void {
    if (this.#openUntilMs !== undefined) this.#openUntilMs = nowMs + OPEN_MS;
  }

  /** Notes an answer of the store, which may be a refusal. */
  succeeded(): void {
    this.#failures = 0;
    this.#openUntilMs = undefined;
  }

  /** Notes that the store did not answer. */
  failed(nowMs: number): void {
    this.#failures++;
    if (this.#failures >= OPENS_AFTER) this.#openUntilMs = nowMs + OPEN_MS;
  }
}

/** Retries per call, so that they do not multiply the load on an overloaded store. */
const RETRY_SHARE = 0.1;
/** Retries that can be saved up, and that there are at the start: a few faults in a row are normal. */
const RETRY_RESERVE = 10;

/** Limits retries to a share of the calls. */
export class RetryBudget {
  #tokens = RETRY_RESERVE;

  /** Notes a first try, which earns a share of a retry. */
  firstTry(): void {
    this.#tokens = Math.min(RETRY_RESERVE, this.#tokens + RETRY_SHARE);
  }

  /** Takes a retry from the budget. Returns false if there is none left. */
  take(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
