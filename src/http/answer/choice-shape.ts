// The differences between chat and completions responses, one row each, for whole responses and for chunks.
import type {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
  CompletionChunk,
  Usage,
} from '../../contracts/openai.ts';
import type { ToolCall } from '../../contracts/tools.ts';
import type { AnswerPart } from '../../tools/call-parser.ts';
import type { TokenCounts } from './answer-plan.ts';

/** The text or the call that a chunk adds to its choice, as the choice's members. */
type ChunkContent =
  | Pick<ChatCompletionChunk['choices'][number], 'delta'>
  | Pick<CompletionChunk['choices'][number], 'text'>;

/** How a response writes its choices. */
export interface ChoiceShape {
  object: (ChatCompletion | Completion)['object'];
  chunkObject: (ChatCompletionChunk | CompletionChunk)['object'];
  /** Whether prompt_logprobs belong to the response or to each choice, as in vLLM. */
  promptLogprobs: 'answer' | 'choice';
  /** The members that hold a choice's text and calls in a whole response. */
  content(text: string, calls: readonly ToolCall[]): object;
  /** The content of the chunk that opens a stream. Undefined if there is no such chunk. */
  opening: ChunkContent | undefined;
  /** The content of a chunk with text. The last chunk of a choice has none. */
  delta(text?: string): ChunkContent;
  /** Undefined if completions contain no calls. */
  calls: CallShape | undefined;
}

/** How a stream writes calls. */
interface CallShape {
  /** The `opening` of a completion that may have no text. */
  opening: ChunkContent;
  /** The content of a chunk with a part of a call. */
  delta(part: CallPart): ChunkContent;
  /** Why a choice with calls ended, unless it was cut off. */
  reason: 'tool_calls' | 'function_call';
}

/** The beginning of a call, or a piece of its arguments. */
type CallPart = Exclude<AnswerPart, { type: 'content' }>;

const OPENING_WITH_TOOLS: ChunkContent = { delta: { role: 'assistant', content: null } };

/** `POST /v1/chat/completions`. */
export const CHAT_SHAPE: ChoiceShape = {
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  promptLogprobs: 'answer',
  content: (text, calls) => ({
    message: toMessage(text, calls, {
      tool_calls: calls.map(({ id, ...called }) => ({ id, type: 'function', function: called })),
    }),
  }),
  opening: { delta: { role: 'assistant', content: '' } },
  delta: (text) => ({ delta: text === undefined ? {} : { content: text } }),
  calls: {
    opening: OPENING_WITH_TOOLS,
    delta: (part) => ({ delta: { tool_calls: [toCallDelta(part)] } }),
    reason: 'tool_calls',
  },
};

/** The same for requests with the older `functions`. A completion has at most one call. */
export const FUNCTION_SHAPE: ChoiceShape = {
  ...CHAT_SHAPE,
  content: (text, calls) => ({
    message: toMessage(text, calls, {
      function_call: calls.map(({ name, arguments: given }) => ({ name, arguments: given }))[0],
    }),
  }),
  calls: {
    opening: OPENING_WITH_TOOLS,
    delta: (part) => ({ delta: { function_call: toCallDelta(part).function } }),
    reason: 'function_call',
  },
};

/** The content of a message that only makes calls is null. */
function toMessage(text: string, calls: readonly ToolCall[], members: object): object {
  const message = { role: 'assistant', content: text, refusal: null };
  if (calls.length === 0) return message;
  return { ...message, content: text === '' ? null : text, ...members };
}

function toCallDelta(part: CallPart) {
  if (part.type === 'arguments') return { index: part.index, function: { arguments: part.text } };
  const { index, id, name } = part;
  return { index, id, type: 'function' as const, function: { name, arguments: '' } };
}

/** `POST /v1/completions`. */
export const COMPLETION_SHAPE: ChoiceShape = {
  object: 'text_completion',
  chunkObject: 'text_completion',
  promptLogprobs: 'choice',
  content: (text) => ({ text }),
  opening: undefined,
  delta: (text = '') => ({ text }),
  calls: undefined,
};

/** Writes the token counts of a response or a chunk. */
export function toUsage({ promptTokens, completionTokens, cachedTokens }: TokenCounts): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
