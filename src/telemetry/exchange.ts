// One HTTP request from its arrival to the end of its answer: when it came, and its span. A streamed answer goes on
// after its response is made, so that whoever is still at work holds the exchange open.
import type { TraceSpan } from './tracing.ts';

export class Exchange {
  /** Monotonic milliseconds. */
  readonly startMs: number;
  readonly span: TraceSpan | undefined;
  #holders = 0;
  #isNamed = false;

  constructor(startMs: number, span: TraceSpan | undefined) {
    this.startMs = startMs;
    this.span = span;
  }

  /** The first name stays: who answers knows better than who routes. */
  nameSpan(name: string): void {
    if (!this.#isNamed) this.span?.setName(name);
    this.#isNamed = true;
  }

  hold(): void {
    this.#holders++;
  }

  /** The last one ends it. */
  release(): void {
    if (--this.#holders === 0) this.span?.end();
  }
}
