// What is asked of a tracing library: spans of requests, and which one is current. Implemented in `otel/`,
// which is loaded only where somebody collects traces.

export type SpanAttributes = Readonly<
  Record<string, string | number | boolean | readonly string[]>
>;

/** `http.*`, `gen_ai.*` and ours; never text of a prompt or an answer. */
export interface TraceSpan {
  setName(name: string): void;
  setAttributes(attributes: SpanAttributes): void;
  /** `code`: of the error that the client sees. */
  setFailed(code: string): void;
  /** A span of what begins now, within this one; who asked for it ends it. */
  startChild(name: string, attributes: SpanAttributes): TraceSpan;
  /** A span of what was done within this one, from its begin to its end. */
  addChild(child: ChildSpan): void;
  end(): void;
}

export interface ChildSpan {
  readonly name: string;
  /** Monotonic milliseconds of this process. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes?: SpanAttributes;
}

export interface Tracing {
  /** The span of an HTTP request. `header` reads the caller's trace (W3C Trace Context). */
  begin(
    name: string,
    attributes: SpanAttributes,
    header: (name: string) => string | undefined,
  ): TraceSpan;
  /** The span of work that nobody's request is waiting for. */
  root(name: string, attributes: SpanAttributes): TraceSpan;
  /** Runs `act` with the span as the current one. */
  within<T>(span: TraceSpan, act: () => T): T;
  /** The ids of the current span, as fields of a log line. */
  logFields(): { trace_id: string; span_id: string } | undefined;
  /** Sends what is not sent yet. */
  shutdown(): Promise<void>;
}
