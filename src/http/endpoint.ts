// The differences between the answers of chat and completions, as one row each, for whole answers and for chunks.
import type { ChatLogprobs, CompletionLogprobs, Usage } from '../contracts/openai.ts';
import type { GenAiOperation } from '../telemetry/gen-ai.ts';
import {
  createChatLogprobs,
  createCompletionLogprobs,
  type LogprobWriter,
  type TokenNames,
} from './logprobs.ts';

/** Logprobs of a choice in either shape. */
export type WireLogprobs = ChatLogprobs | CompletionLogprobs;

/** How an endpoint writes its answers. */
export interface Endpoint {
  operation: GenAiOperation;
  idPrefix: string;
  object: string;
  chunkObject: string;
  /** Whether prompt_logprobs are part of the answer or of each choice, as in vLLM. */
  promptLogprobs: 'answer' | 'choice';
  createLogprobs(names: TokenNames): LogprobWriter<WireLogprobs>;
  /** The members that hold the text of a choice in a whole answer. */
  content(text: string): object;
  /** JSON of the choice in the chunk that opens a stream; undefined if there is no such chunk. */
  opening: string | undefined;
  /** The JSON member that holds the text of a chunk: what comes before and after the text's JSON. */
  delta: readonly [before: string, after: string];
  /** That member without text, for the last chunk of a choice. */
  emptyDelta: string;
}

/** `POST /v1/chat/completions`. */
export const CHAT: Endpoint = {
  operation: 'chat',
  idPrefix: 'chatcmpl-',
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  promptLogprobs: 'answer',
  createLogprobs: createChatLogprobs,
  content: (text) => ({ message: { role: 'assistant', content: text, refusal: null } }),
  opening: '"delta":{"role":"assistant","content":""}',
  delta: ['"delta":{"content":', '}'],
  emptyDelta: '"delta":{}',
};

/** `POST /v1/completions`. */
export const COMPLETIONS: Endpoint = {
  operation: 'text_completion',
  idPrefix: 'cmpl-',
  object: 'text_completion',
  chunkObject: 'text_completion',
  promptLogprobs: 'choice',
  createLogprobs: createCompletionLogprobs,
  content: (text) => ({ text }),
  opening: undefined,
  delta: ['"text":', ''],
  emptyDelta: '"text":""',
};

/** The tokens of an answer or of a part of it. */
export interface TokenCounts {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** The prompt tokens that came from the prefix cache. */
  readonly cachedTokens: number;
}

/** Writes the token counts of an answer or of a chunk. */
export function toUsage({ promptTokens, completionTokens, cachedTokens }: TokenCounts): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
