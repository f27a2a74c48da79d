// Traces a generation: sets the attributes of the request's span, and adds a child span for each phase of its sequences
// (adapter, queue, prefill, decode). Only counts, times and names reach a span, never text.
import type { AdapterUse } from '../contracts/generation.ts';
import { GEN_AI, type GenAiOperation, PROVIDER } from './gen-ai.ts';
import type { ChildSpan, SpanAttributes, TraceSpan } from './tracing.ts';

/** A request with more sequences shows only the phases of the first ones. */
const MAX_TRACED_SEQUENCES = 8;

/** The facts about a generation at its start. */
export interface TracedRequest {
  readonly operation: GenAiOperation;
  readonly tenant: string;
  /** The model name in the request, and the model that it resolved to. */
  readonly requestModel: string;
  readonly responseModel: string;
  readonly adapterDigest?: string;
  readonly promptTokens: number;
  readonly responseId: string;
  readonly isStream: boolean;
  readonly choiceCount: number;
  /** Absent if nothing is generated. */
  readonly sampling?: {
    readonly maxTokens: number;
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly seed?: number;
    readonly frequencyPenalty: number;
    readonly presencePenalty: number;
  };
}

/** The times when a sequence reached each phase, in monotonic milliseconds. */
export interface SequenceTimes {
  readonly submittedMs: number;
  readonly acceptedMs?: number;
  readonly adapterUse?: AdapterUse;
  readonly admittedMs?: number;
  readonly firstTokenMs?: number;
  readonly tokens: number;
}

/** The end of a generation. */
interface RequestEnd {
  /** `ok`, `aborted` or the error's code. */
  readonly outcome: string;
  readonly outputTokens: number;
  readonly finishReasons: readonly string[];
  readonly firstTokenMs: number | undefined;
}

/** The trace of one generation. */
export class RequestTrace {
  readonly #span: TraceSpan;
  readonly #request: TracedRequest;
  readonly #startMs: number;

  constructor(span: TraceSpan, request: TracedRequest, startMs: number) {
    this.#span = span;
    this.#request = request;
    this.#startMs = startMs;
    span.setAttributes(requestAttributes(request));
  }

  /** Adds the span for fetching the adapter's files or finding them on the disk. */
  adapterAcquired(tier: string, startMs: number, endMs: number): void {
    const attributes = { 'lorikeet.adapter.tier': tier };
    this.#span.addChild({ name: 'adapter files', startMs, endMs, attributes });
  }

  /** Adds the spans of an ended sequence. Phases that it did not reach have none. */
  sequence(index: number, times: SequenceTimes, endMs: number): void {
    if (index >= MAX_TRACED_SEQUENCES) return;
    const hasAdapter = this.#request.adapterDigest !== undefined;
    for (const child of phases(times, endMs, hasAdapter)) {
      const attributes = { 'lorikeet.choice.index': index, ...child.attributes };
      this.#span.addChild({ ...child, attributes });
    }
  }

  /** Sets the attributes that are known only at the end. */
  end({ outcome, outputTokens, finishReasons, firstTokenMs }: RequestEnd): void {
    this.#span.setAttributes({
      [GEN_AI.inputTokens]: this.#request.promptTokens,
      [GEN_AI.outputTokens]: outputTokens,
      [GEN_AI.finishReasons]: finishReasons.length > 0 ? finishReasons : undefined,
      [GEN_AI.timeToFirstChunk]:
        firstTokenMs === undefined ? undefined : (firstTokenMs - this.#startMs) / 1000,
    });
    if (outcome !== 'ok') this.#span.setFailed(outcome);
  }
}

/** Returns the phases. Each ends when the next one starts, and the last ends with the sequence. */
function phases(times: SequenceTimes, endMs: number, hasAdapter: boolean): ChildSpan[] {
  const { submittedMs, acceptedMs, admittedMs, firstTokenMs, tokens, adapterUse } = times;
  const ofAdapter = {
    'lorikeet.adapter.tier': adapterUse?.tier,
    'lorikeet.adapter.load_ms': adapterUse?.loadMs,
  };
  const ofDecode = { [GEN_AI.outputTokens]: tokens };
  const starts = [
    ...(hasAdapter ? [{ name: 'adapter', startMs: submittedMs, attributes: ofAdapter }] : []),
    { name: 'queue', startMs: hasAdapter ? acceptedMs : submittedMs },
    { name: 'prefill', startMs: admittedMs },
    { name: 'decode', startMs: firstTokenMs, attributes: ofDecode },
  ].flatMap(({ startMs, ...rest }) => (startMs === undefined ? [] : [{ ...rest, startMs }]));
  return starts.map((phase, i) => ({ ...phase, endMs: starts[i + 1]?.startMs ?? endMs }));
}

function requestAttributes(request: TracedRequest): SpanAttributes {
  const { sampling } = request;
  return {
    [GEN_AI.operation]: request.operation,
    [GEN_AI.provider]: PROVIDER,
    [GEN_AI.requestModel]: request.requestModel,
    [GEN_AI.responseModel]: request.responseModel,
    [GEN_AI.responseId]: request.responseId,
    'lorikeet.tenant': request.tenant,
    'lorikeet.adapter.digest': request.adapterDigest,
    ...(sampling && {
      [GEN_AI.outputType]: 'text',
      [GEN_AI.stream]: request.isStream,
      [GEN_AI.choiceCount]: request.choiceCount,
      [GEN_AI.maxTokens]: sampling.maxTokens,
      [GEN_AI.temperature]: sampling.temperature,
      [GEN_AI.topP]: sampling.topP,
      [GEN_AI.topK]: sampling.topK,
      [GEN_AI.frequencyPenalty]: sampling.frequencyPenalty,
      [GEN_AI.presencePenalty]: sampling.presencePenalty,
      [GEN_AI.seed]: sampling.seed,
    }),
  };
}
