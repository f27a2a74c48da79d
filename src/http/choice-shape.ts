// The differences between the answers of chat and completions, as one row each, for whole answers and for chunks.
import type { Usage } from '../contracts/openai.ts';
import type { TokenCounts } from './answer-plan.ts';

/** How an answer writes its choices. */
export interface ChoiceShape {
  object: string;
  chunkObject: string;
  /** Whether prompt_logprobs are part of the answer or of each choice, as in vLLM. */
  promptLogprobs: 'answer' | 'choice';
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
export const CHAT_SHAPE: ChoiceShape = {
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  promptLogprobs: 'answer',
  content: (text) => ({ message: { role: 'assistant', content: text, refusal: null } }),
  opening: '"delta":{"role":"assistant","content":""}',
  delta: ['"delta":{"content":', '}'],
  emptyDelta: '"delta":{}',
};

/** `POST /v1/completions`. */
export const COMPLETION_SHAPE: ChoiceShape = {
  object: 'text_completion',
  chunkObject: 'text_completion',
  promptLogprobs: 'choice',
  content: (text) => ({ text }),
  opening: undefined,
  delta: ['"text":', ''],
  emptyDelta: '"text":""',
};

/** Writes the token counts of an answer or of a chunk. */
export function toUsage({ promptTokens, completionTokens, cachedTokens }: TokenCounts): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
