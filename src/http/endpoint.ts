// What differs between the answers of chat and completions: one table row each, for whole answers and for chunks.
import type {
  ChatLogprobs,
  CompletionLogprobs,
  Usage,
  WireFinishReason,
} from '../contracts/openai.ts';
import type { GenAiOperation } from '../telemetry/gen-ai.ts';
import { createChatLogprobs, createCompletionLogprobs, type LogprobWriter } from './logprobs.ts';
import type { StreamPlan } from './stream-plan.ts';
import type { TokenNames } from './token-names.ts';

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

/** What every part of one answer shares. */
export interface AnswerHead {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

export function toUsage(promptTokens: number, completionTokens: number): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

/** Chunks as JSON. What is constant is written once: a token costs one `JSON.stringify` of its text. */
export interface ChunkWriter {
  opening(index: number, tokens: number): string | undefined;
  /** `tokens`: those of this choice so far. */
  delta(
    index: number,
    part: { text: string; logprobs: WireLogprobs | null; tokens: number },
  ): string;
  finish(index: number, reason: WireFinishReason, tokens: number): string;
  usage(usage: Usage): string;
}

export function createChunkWriter(
  endpoint: Endpoint,
  head: AnswerHead,
  { usage, promptTokens }: { usage: StreamPlan['usage']; promptTokens(index: number): number },
): ChunkWriter {
  const { id, ...rest } = head;
  const members = JSON.stringify({ id, object: endpoint.chunkObject, ...rest }).slice(0, -1);
  const before = `${members},"choices":[{"index":`;
  const after = (index: number, tokens: number) => {
    if (usage === 'none') return '}]}';
    const sofar = usage === 'each' ? JSON.stringify(toUsage(promptTokens(index), tokens)) : 'null';
    return `}],"usage":${sofar}}`;
  };
  const quiet = ',"logprobs":null,"finish_reason":null';
  const [open, close] = endpoint.delta;
  return {
    opening: (index, tokens) =>
      endpoint.opening && `${before}${index},${endpoint.opening}${quiet}${after(index, tokens)}`,
    delta(index, { text, logprobs, tokens }) {
      const start = `${before}${index},${open}${JSON.stringify(text)}${close}`;
      if (!logprobs) return `${start}${quiet}${after(index, tokens)}`;
      return `${start},"logprobs":${JSON.stringify(logprobs)},"finish_reason":null${after(index, tokens)}`;
    },
    finish: (index, reason, tokens) =>
      `${before}${index},${endpoint.emptyDelta},"logprobs":null,"finish_reason":"${reason}"${after(index, tokens)}`,
    usage: (usage) => `${members},"choices":[],"usage":${JSON.stringify(usage)}}`,
  };
}
