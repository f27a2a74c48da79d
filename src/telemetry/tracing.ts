// The interface to a tracing library: spans of requests, and the current span. `otel/` implements it, and is loaded only if
// traces are collected.

/** Values by attribute name, as OpenTelemetry allows them. Undefined values are left out. */
export type SpanAttributes = Readonly<
  Record<string, string | number | boolean | readonly string[] | undefined>
>;

/** A span with attributes `http.*`, `gen_ai.*` and `lorikeet.*`, never with text of a prompt or completion. */
export interface TraceSpan {
  setName(name: string): void;
  setAttributes(attributes: SpanAttributes): void;
  /** Marks the span as failed with the code of the error that the client sees. */
  setFailed(code: string): void;
  /** Starts a span within this one. The caller ends it. */
  startChild(name: string, attributes: SpanAttributes): TraceSpan;
  /** Adds a span for completed work within this one. */
  addChild(child: ChildSpan): void;
  end(): void;
}

/** Completed work. */
export interface ChildSpan {
  readonly name: string;
  /** Start and end are monotonic milliseconds of this process. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes?: SpanAttributes;
}

/** A tracing library. */
export interface Tracing {
  /** Starts the span of an HTTP request. `header` reads the caller's trace (W3C Trace Context). */
  begin(
    name: string,
    attributes: SpanAttributes,
    header: (name: string) => string | undefined,
  ): TraceSpan;
  /** Starts a span for work that no request waits for. */
  root(name: string, attributes: SpanAttributes): TraceSpan;
  /** Runs `act` with the span as the current one. */
  within<T>(span: TraceSpan, act: () => T): T;
  /** Returns the ids of the current span as fields of a log line. */
  logFields(): { trace_id: string; span_id: string } | undefined;
  /** Sends all unsent spans. */
  shutdown(): Promise<void>;
}
