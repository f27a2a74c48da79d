// The plan of an answer, made before its first token: the endpoint, the model, the choices, and how the answer is written.
import type { ResolvedModel } from '../../adapters/registry/resolved.ts';
import { createStopStrings } from '../tokenizer/stop-strings.ts';
import type { StreamDecoderOptions } from '../tokenizer/stream-decoder.ts';
import type { Endpoint } from './endpoint.ts';
import type { GenerationPlan } from './generation.ts';
import type { ChatRequest } from './schema/chat.ts';

/** A checked request for an answer. The adapter's files are not fetched yet. */
export interface AnswerPlan extends Omit<GenerationPlan, 'adapter'> {
  endpoint: Endpoint;
  model: ResolvedModel;
  /** Resolves the model's name again. */
  resolveAgain(): Promise<ResolvedModel>;
  /** All prompts together, each counted once. */
  promptTokens: number;
  logprobs: LogprobPlan;
  /** Undefined if the answer is one JSON document. */
  stream: StreamPlan | undefined;
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

/** The members that every part of one answer repeats. */
export interface AnswerHead {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

/** Reads `stream` and `stream_options`. */
export function toStreamPlan({
  stream,
  stream_options: options,
}: Pick<ChatRequest, 'stream' | 'stream_options'>): StreamPlan | undefined {
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
