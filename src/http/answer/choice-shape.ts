// The differences between the answers of chat and completions, as one row each, for whole answers and for chunks.
import type { Usage } from '../../contracts/openai.ts';
import type { ToolCall } from '../../contracts/tools.ts';
import type { AnswerPart } from '../../tools/call-parser.ts';
import type { TokenCounts } from './answer-plan.ts';

/** How an answer writes its choices. */
export interface ChoiceShape {
  object: string;
  chunkObject: string;
  /** Whether prompt_logprobs are part of the answer or of each choice, as in vLLM. */
  promptLogprobs: 'answer' | 'choice';
  /** The members that hold the text and the calls of a choice in a whole answer. */
  content(text: string, calls: readonly ToolCall[]): object;
  /** JSON of the choice in the chunk that opens a stream; undefined if there is no such chunk. */
  opening: string | undefined;
  /** The JSON member that holds the text of a chunk: what comes before and after the text's JSON. */
  delta: readonly [before: string, after: string];
  /** That member without text, for the last chunk of a choice. */
  emptyDelta: string;
  /** Undefined if answers have no calls. */
  calls: CallShape | undefined;
}

/** How a stream writes calls. */
interface CallShape {
  /** `opening` of an answer that may have no text. */
  opening: string;
  /** The delta of a part of a call. */
  delta(part: CallPart): object;
  /** Why a choice with calls ended, unless it was cut off. */
  reason: 'tool_calls' | 'function_call';
}

/** The beginning of a call, or a piece of its arguments. */
export type CallPart = Exclude<AnswerPart, { type: 'content' }>;

const OPENING_WITH_TOOLS = '"delta":{"role":"assistant","content":null}';

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
  opening: '"delta":{"role":"assistant","content":""}',
  delta: ['"delta":{"content":', '}'],
  emptyDelta: '"delta":{}',
  calls: {
    opening: OPENING_WITH_TOOLS,
    delta: (part) => ({ tool_calls: [toCallDelta(part)] }),
    reason: 'tool_calls',
  },
};

/** The same for requests with the older `functions`. An answer has one call at most. */
export const FUNCTION_SHAPE: ChoiceShape = {
  ...CHAT_SHAPE,
  content: (text, calls) => ({
    message: toMessage(text, calls, {
      function_call: calls.map(({ name, arguments: given }) => ({ name, arguments: given }))[0],
    }),
  }),
  calls: {
    opening: OPENING_WITH_TOOLS,
    delta: (part) => ({ function_call: toCallDelta(part).function }),
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
  return { index, id, type: 'function', function: { name, arguments: '' } };
}

/** `POST /v1/completions`. */
export const COMPLETION_SHAPE: ChoiceShape = {
  object: 'text_completion',
  chunkObject: 'text_completion',
  promptLogprobs: 'choice',
  content: (text) => ({ text }),
  opening: undefined,
  delta: ['"text":', ''],
  emptyDelta: '"text":""',
  calls: undefined,
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
