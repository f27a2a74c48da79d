// The plan of an answer, made before its first token: the endpoint, the model, the choices, and how the answer is written.
import type { ServeError } from '../../common/errors.ts';
import type { ChatLogprobs, CompletionLogprobs, WireFinishReason } from '../../contracts/openai.ts';
import type { GenAiOperation } from '../../telemetry/gen-ai.ts';
import { createStopStrings } from '../../tokenizer/stop-strings.ts';
import type { StreamDecoderOptions } from '../../tokenizer/stream-decoder.ts';
import type { ToolPlan } from '../../tools/tool-plan.ts';
import type { RequestModel } from '../request/request-model.ts';
import type { ChatRequest } from '../schema/chat.ts';
import type { GenerationEvent, GenerationPlan } from './generation.ts';
import type { LogprobWriter, TokenNames } from './logprobs.ts';

/** A checked request for an answer. The adapter's files are not fetched yet. */
export interface AnswerPlan extends Omit<GenerationPlan, 'adapter'> {
  endpoint: Endpoint;
  model: RequestModel;
  /** All prompts together, each counted once. */
  promptTokens: number;
  logprobs: LogprobPlan;
  /** Undefined if the answer is one JSON document. */
  stream: StreamPlan | undefined;
  /** Undefined if the answer is text only. */
  tools?: ToolPlan | undefined;
}

/** Which tokens of an answer are scored. */
export interface LogprobPlan {
  /** Whether the answer's tokens are scored. */
  isShown: boolean;
  /** Whether tokens are written as `token_id:N`. */
  byId: boolean;
  /** Alternatives for each token of the echoed prompt; undefined if they are not scored. */
  echoed: number | undefined;
  /** Alternatives for each token in prompt_logprobs; undefined if there is no such field. */
  prompt: number | undefined;
}

/** How an answer is streamed. */
export interface StreamPlan {
  /** Whether the last chunk, or each chunk, reports the usage. */
  usage: 'none' | 'last' | 'each';
}

/** How an endpoint writes its answers. Only requests with `stream` have events. */
export interface Endpoint {
  readonly operation: GenAiOperation;
  readonly idPrefix: string;
  /** The field that limits the tokens of an answer. */
  readonly limitField: string;
  createLogprobs(names: TokenNames): LogprobWriter<WireLogprobs>;
  /** Starts an answer that is one JSON document. */
  createDocument(plan: AnswerPlan, context: DocumentContext): DocumentWriter;
  /** Starts an answer that is a stream of events. */
  createEvents(plan: AnswerPlan, head: AnswerHead): EventWriter;
}

/** Logprobs of a choice in either shape. */
export type WireLogprobs = ChatLogprobs | CompletionLogprobs;

/** The members and the token names that a document needs. */
export interface DocumentContext {
  readonly head: AnswerHead;
  readonly names: TokenNames;
}

/** Gathers the events of a generation and then writes the document. */
export interface DocumentWriter {
  write(event: GenerationEvent): void;
  /** Called once, after the last event. Text and bytes are JSON already. */
  end(counts: TokenCounts): object | string | Uint8Array<ArrayBuffer> | Promise<object>;
}

/** Writes a stream. Each method returns any number of events, as `toFrame` writes them. */
export interface EventWriter {
  /** Opens a choice. */
  opening(index: number): string;
  delta(index: number, part: StreamPart): string;
  /** Ends a choice. */
  finish(index: number, reason: WireFinishReason, tokens: ChoiceTokens): string;
  /** Ends a complete answer. If it rejects, `fail` follows. */
  end(counts: TokenCounts): string | Promise<string>;
  /** Ends an answer that failed. */
  fail(error: ServeError): string;
}

/** Text of a choice that was not sent before, and the tokens of the choice so far. */
export interface StreamPart extends ChoiceTokens {
  readonly text: string;
  readonly logprobs: WireLogprobs | null;
}

/** The tokens of a choice so far. */
export interface ChoiceTokens {
  readonly tokens: number;
  /** Tokens of its prompt that came from the prefix cache. */
  readonly cachedTokens: number;
}

/** The tokens of an answer or of a part of it. */
export interface TokenCounts {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** The prompt tokens that came from the prefix cache. */
  readonly cachedTokens: number;
}

/** The members that every part of one answer repeats. */
export interface AnswerHead {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

/** The fields that decide how an answer is streamed. */
export interface StreamFields {
  readonly stream?: boolean | null | undefined;
  readonly stream_options?: StreamOptions | null | undefined;
}

interface StreamOptions {
  readonly include_usage?: boolean | null | undefined;
  readonly continuous_usage_stats?: boolean | null | undefined;
}

/** Reads `stream` and `stream_options`. */
export function toStreamPlan({
  stream,
  stream_options: options,
}: StreamFields): StreamPlan | undefined {
  if (!stream) return undefined;
  if (!options?.include_usage) return { usage: 'none' };
  return { usage: options.continuous_usage_stats ? 'each' : 'last' };
}

/** Reads `stop`, `min_tokens` and `include_stop_str_in_output`. */
export function toTextEnd(
  body: Pick<ChatRequest, 'stop' | 'min_tokens' | 'include_stop_str_in_output'>,
): StreamDecoderOptions {
  return {
    stop: createStopStrings(body.stop),
    includesStop: body.include_stop_str_in_output ?? false,
    minTokens: body.min_tokens ?? 0,
  };
}
