// One HTTP request in metrics and traces.
import type { SpanAttributes, TraceSpan } from './tracing.ts';

/** An HTTP request, for its span. */
export interface ArrivedRequest {
  readonly name: string;
  readonly attributes: SpanAttributes;
  header(name: string): string | undefined;
}

/**
 * One HTTP request, from its arrival to the end of its response. A stream continues after its handler has returned, so
 * everything that still works on it holds the exchange.
 */
export class Exchange {
  /** The arrival of the request, in monotonic milliseconds. */
  readonly startMs: number;
  readonly span: TraceSpan | undefined;
  #holders = 0;
  #isNamed = false;

  constructor(startMs: number, span: TraceSpan | undefined) {
    this.startMs = startMs;
    this.span = span;
  }

  /** Names the span. The first name stays, because the route's handler is more specific than the middleware. */
  nameSpan(name: string): void {
    if (!this.#isNamed) this.span?.setName(name);
    this.#isNamed = true;
  }

  /** Keeps the span open until `release`. */
  hold(): void {
    this.#holders++;
  }

  /** Ends the span if nobody else holds it. */
  release(): void {
    if (--this.#holders === 0) this.span?.end();
  }
}
