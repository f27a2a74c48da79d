// The trace of a request to generate: attributes of its own span, and a span below it for each phase of its sequences:
// adapter (its load, by tier), queue, prefill, decode. Counts, times and names only; no text reaches a span.
import { GEN_AI, type GenAiOperation, PROVIDER } from './gen-ai.ts';
import type { ChildSpan, SpanAttributes, TraceSpan } from './tracing.ts';

/** A request of a thousand prompts shows the phases of its first ones. */
const MAX_TRACED_SEQUENCES = 8;

export interface TracedRequest {
  readonly operation: GenAiOperation;
  readonly tenant: string;
  /** As it was asked for, and what it stood for. */
  readonly requestModel: string;
  readonly responseModel: string;
  readonly adapterDigest?: string;
  readonly promptTokens: number;
  readonly responseId: string;
  readonly isStream: boolean;
  readonly choiceCount: number;
  readonly sampling: {
    readonly maxTokens: number;
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly seed?: number;
    readonly frequencyPenalty: number;
    readonly presencePenalty: number;
  };
}

/** Monotonic milliseconds; absent: not reached. */
export interface SequenceTimes {
  readonly submittedMs: number;
  readonly acceptedMs?: number;
  readonly receipt?: { readonly tier?: string; readonly loadMs?: number };
  readonly admittedMs?: number;
  readonly firstTokenMs?: number;
  readonly tokens: number;
}

export interface RequestEnd {
  /** `ok`, `aborted` or the error's code. */
  readonly outcome: string;
  readonly outputTokens: number;
  readonly finishReasons: readonly string[];
  readonly firstTokenMs: number | undefined;
}

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

  /** Files of the adapter were fetched or found on the disk. */
  adapterAcquired(tier: string, startMs: number, endMs: number): void {
    const attributes = { 'lorikeet.adapter.tier': tier };
    this.#span.addChild({ name: 'adapter files', startMs, endMs, attributes });
  }

  /** The sequence has ended; what it did not reach has no span, what it was at ends here. */
  sequence(index: number, times: SequenceTimes, endMs: number): void {
    if (index >= MAX_TRACED_SEQUENCES) return;
    const hasAdapter = this.#request.adapterDigest !== undefined;
    for (const child of phases(times, endMs, hasAdapter)) {
      const attributes = { 'lorikeet.choice.index': index, ...child.attributes };
      this.#span.addChild({ ...child, attributes });
    }
  }

  end({ outcome, outputTokens, finishReasons, firstTokenMs }: RequestEnd): void {
    const firstChunkS =
      firstTokenMs === undefined ? undefined : (firstTokenMs - this.#startMs) / 1000;
    this.#span.setAttributes({
      [GEN_AI.inputTokens]: this.#request.promptTokens,
      [GEN_AI.outputTokens]: outputTokens,
      ...(finishReasons.length > 0 ? { [GEN_AI.finishReasons]: finishReasons } : {}),
      ...(firstChunkS !== undefined ? { [GEN_AI.timeToFirstChunk]: firstChunkS } : {}),
    });
    if (outcome !== 'ok') this.#span.setFailed(outcome);
  }
}

/** Each begins where the one before it ends; the last one that was reached ends with the sequence. */
function phases(times: SequenceTimes, endMs: number, hasAdapter: boolean): ChildSpan[] {
  const { submittedMs, acceptedMs, admittedMs, firstTokenMs, tokens } = times;
  const adapter = { name: 'adapter', startMs: submittedMs, attributes: receiptAttributes(times) };
  const decode = {
    name: 'decode',
    startMs: firstTokenMs,
    attributes: { [GEN_AI.outputTokens]: tokens },
  };
  const reached = [
    ...(hasAdapter ? [adapter] : []),
    { name: 'queue', startMs: hasAdapter ? acceptedMs : submittedMs },
    { name: 'prefill', startMs: admittedMs },
    decode,
  ].flatMap(({ startMs, ...rest }) => (startMs === undefined ? [] : [{ ...rest, startMs }]));
  return reached.map((phase, i) => ({ ...phase, endMs: reached[i + 1]?.startMs ?? endMs }));
}

function receiptAttributes({ receipt }: SequenceTimes): SpanAttributes {
  return {
    ...(receipt?.tier !== undefined ? { 'lorikeet.adapter.tier': receipt.tier } : {}),
    ...(receipt?.loadMs !== undefined ? { 'lorikeet.adapter.load_ms': receipt.loadMs } : {}),
  };
}

function requestAttributes(request: TracedRequest): SpanAttributes {
  const { sampling } = request;
  return {
    [GEN_AI.operation]: request.operation,
    [GEN_AI.provider]: PROVIDER,
    [GEN_AI.requestModel]: request.requestModel,
    [GEN_AI.responseModel]: request.responseModel,
    [GEN_AI.responseId]: request.responseId,
    [GEN_AI.outputType]: 'text',
    [GEN_AI.stream]: request.isStream,
    [GEN_AI.choiceCount]: request.choiceCount,
    [GEN_AI.maxTokens]: sampling.maxTokens,
    [GEN_AI.temperature]: sampling.temperature,
    [GEN_AI.topP]: sampling.topP,
    [GEN_AI.topK]: sampling.topK,
    [GEN_AI.frequencyPenalty]: sampling.frequencyPenalty,
    [GEN_AI.presencePenalty]: sampling.presencePenalty,
    ...(sampling.seed !== undefined ? { [GEN_AI.seed]: sampling.seed } : {}),
    'lorikeet.tenant': request.tenant,
    ...(request.adapterDigest !== undefined
      ? { 'lorikeet.adapter.digest': request.adapterDigest }
      : {}),
  };
}
