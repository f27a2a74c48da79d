// Implements tracing with OpenTelemetry's SDK and W3C Trace Context. The SDK reads all other settings (sampler, limits,
// batches) from OTEL_* variables.
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Attributes,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import type { Resource } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base';
import { VERSION } from '../../common/version.ts';
import type { ChildSpan, SpanAttributes, TraceSpan, Tracing } from '../tracing.ts';

type ReadHeader = (name: string) => string | undefined;

const HEADERS: TextMapGetter<ReadHeader> = { get: (read, name) => read(name), keys: () => [] };

/** Creates the tracing of this process. */
export function createTracing(exporter: SpanExporter, resource: Resource): Tracing {
  const processor = new BatchSpanProcessor(exporter);
  const provider = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  const tracer = provider.getTracer('lorikeet', VERSION);
  const propagator = new W3CTraceContextPropagator();
  const current = new AsyncLocalStorage<TraceSpan>();
  return {
    begin(name, attributes, header) {
      const parent = propagator.extract(ROOT_CONTEXT, header, HEADERS);
      const options = { kind: SpanKind.SERVER, attributes: toAttributes(attributes) };
      return new OtelSpan(tracer, tracer.startSpan(name, options, parent));
    },
    root(name, attributes) {
      const options = { attributes: toAttributes(attributes) };
      return new OtelSpan(tracer, tracer.startSpan(name, options, ROOT_CONTEXT));
    },
    within: (span, act) => current.run(span, act),
    logFields() {
      const span = current.getStore();
      return span instanceof OtelSpan ? span.ids() : undefined;
    },
    shutdown: () => provider.shutdown(),
  };
}

class OtelSpan implements TraceSpan {
  readonly #tracer: Tracer;
  readonly #span: Span;
  readonly #context: Context;

  constructor(tracer: Tracer, span: Span) {
    this.#tracer = tracer;
    this.#span = span;
    this.#context = trace.setSpan(ROOT_CONTEXT, span);
  }

  ids(): { trace_id: string; span_id: string } {
    const { traceId, spanId } = this.#span.spanContext();
    return { trace_id: traceId, span_id: spanId };
  }

  setName(name: string): void {
    this.#span.updateName(name);
  }

  setAttributes(attributes: SpanAttributes): void {
    this.#span.setAttributes(toAttributes(attributes));
  }

  setFailed(code: string): void {
    this.#span.setAttribute('error.type', code);
    this.#span.setStatus({ code: SpanStatusCode.ERROR });
  }

  startChild(name: string, attributes: SpanAttributes): TraceSpan {
    const options = { attributes: toAttributes(attributes) };
    return new OtelSpan(this.#tracer, this.#tracer.startSpan(name, options, this.#context));
  }

  addChild({ name, startMs, endMs, attributes = {} }: ChildSpan): void {
    const options = { startTime: toUnixMs(startMs), attributes: toAttributes(attributes) };
    this.#tracer.startSpan(name, options, this.#context).end(toUnixMs(endMs));
  }

  end(): void {
    this.#span.end();
  }
}

function toAttributes(attributes: SpanAttributes): Attributes {
  return attributes as Attributes; // the types differ only in `readonly`
}

function toUnixMs(monotonicMs: number): number {
  return performance.timeOrigin + monotonicMs;
}
