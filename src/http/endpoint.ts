// What differs between the answers of chat and completions: one table row each, for whole answers and for chunks.
import type { ChatLogprobs, CompletionLogprobs, Usage } from '../contracts/openai.ts';
import type { GenAiOperation } from '../telemetry/gen-ai.ts';
import {
  createChatLogprobs,
  createCompletionLogprobs,
  type LogprobWriter,
  type TokenNames,
} from './logprobs.ts';

export type WireLogprobs = ChatLogprobs | CompletionLogprobs;

export interface Endpoint {
  operation: GenAiOperation;
  idPrefix: string;
  object: string;
  chunkObject: string;
  /** Where a whole answer has its prompt_logprobs, as in vLLM. */
  promptLogprobs: 'answer' | 'choice';
  createLogprobs(names: TokenNames): LogprobWriter<WireLogprobs>;
  /** The members of a whole answer's choice that carry text. */
  content(text: string): object;
  /** JSON of a chunk's choice that opens the stream; undefined: there is none. */
  opening: string | undefined;
  /** JSON member of a chunk that carries text, around the text's JSON. */
  delta: readonly [before: string, after: string];
  /** The same without text, in a choice's last chunk. */
  emptyDelta: string;
}

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

/** Writes the token counts of an answer or of a chunk. */
export function toUsage(promptTokens: number, completionTokens: number): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
