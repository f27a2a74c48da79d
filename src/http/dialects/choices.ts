// The responses with choices, of chat and completions: their differences as a table, and the writers of a whole response and of
// chunks.
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatLogprobs,
  Completion,
  CompletionChunk,
  CompletionLogprobs,
  Usage,
} from '../../contracts/openai.ts';
import type { ToolCall } from '../../contracts/tools.ts';
import { type CompletionPart, parseCompletion } from '../../tools/call-parser.ts';
import type {
  ChoiceTokens,
  DocumentWriter,
  EventWriter,
  GenerationPlan,
  ResponseHead,
  ResponseWriter,
  SendEvents,
  StreamPart,
  TokenCounts,
} from '../generation/generation-plan.ts';
import { toEnvelope } from '../wire/errors.ts';
import { toFrame } from '../wire/event-stream.ts';
import {
  createChatLogprobs,
  createCompletionLogprobs,
  createTokenNames,
  LogprobsText,
  type ScoreWriter,
  type TokenNames,
  withTop,
  writePromptLogprobs,
} from './logprobs.ts';

/** The text or the call that a chunk adds to its choice, as the choice's members. */
type ChunkContent =
  | Pick<ChatCompletionChunk['choices'][number], 'delta'>
  | Pick<CompletionChunk['choices'][number], 'text'>;

/** How a response writes its choices. */
interface ChoiceShape {
  object: (ChatCompletion | Completion)['object'];
  chunkObject: (ChatCompletionChunk | CompletionChunk)['object'];
  /** Whether prompt_logprobs and prompt_token_ids belong to the response or to each choice, as in vLLM. */
  promptMembers: 'response' | 'choice';
  createLogprobs(names: TokenNames): ScoreWriter<ChatLogprobs | CompletionLogprobs>;
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
type CallPart = Exclude<CompletionPart, { type: 'content' }>;

const OPENING_WITH_TOOLS: ChunkContent = { delta: { role: 'assistant', content: null } };

/** `POST /v1/chat/completions`. */
const CHAT_SHAPE: ChoiceShape = {
  object: 'chat.completion',
  createLogprobs: createChatLogprobs,
  chunkObject: 'chat.completion.chunk',
  promptMembers: 'response',
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
const FUNCTION_SHAPE: ChoiceShape = {
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
const COMPLETION_SHAPE: ChoiceShape = {
  object: 'text_completion',
  createLogprobs: createCompletionLogprobs,
  chunkObject: 'text_completion',
  promptMembers: 'choice',
  content: (text) => ({ text }),
  opening: undefined,
  delta: (text = '') => ({ text }),
  calls: undefined,
};

/** Writes chat completions. */
export const CHAT_CHOICES = choiceWriter(CHAT_SHAPE);

/** The same for requests with the older `functions`. */
export const FUNCTION_CHOICES = choiceWriter(FUNCTION_SHAPE);

/** Writes completions of prompts. */
export const TEXT_CHOICES = choiceWriter(COMPLETION_SHAPE);

function choiceWriter(shape: ChoiceShape): ResponseWriter {
  return {
    createDocument: (plan, head) => createWholeResponse(plan, head, shape),
    createEvents: (plan, head, send) => createChunkWriter(plan, head, { shape, send }),
  };
}

/** Writes the token counts of a response or a chunk. */
function toUsage({ promptTokens, completionTokens, cachedTokens }: TokenCounts): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

type Chunk = ChatCompletionChunk | CompletionChunk;

const NO_TOKENS: ChoiceTokens = { tokens: 0, cachedTokens: 0 };

/** Creates a writer of chunks for one response. */
function createChunkWriter(
  { choices, stream: usage, tools, showsIds, model, logprobs }: GenerationPlan,
  { id, ...head }: ResponseHead,
  { shape, send }: { shape: ChoiceShape; send: SendEvents },
): EventWriter {
  const names = createTokenNames(model.tokenizer, logprobs);
  const scoreWriters = choices.map(() => shape.createLogprobs(names));
  const usageOf = (index: number, { tokens, cachedTokens }: ChoiceTokens): Pick<Chunk, 'usage'> => {
    if (usage !== 'each') return usage === 'none' ? {} : { usage: null };
    const promptTokens = choices[index]!.request.promptIds.length;
    return { usage: toUsage({ promptTokens, completionTokens: tokens, cachedTokens }) };
  };
  // Most of a chunk is the same in all of them, so it is written once.
  const opening = JSON.stringify({ id, object: shape.chunkObject, ...head }).slice(0, -1);
  const write = (written: Chunk['choices'], rest: Pick<Chunk, 'usage'> & object) => {
    const members = JSON.stringify({ choices: written, ...rest }).slice(1);
    send(toFrame(`${opening},${members}`));
  };
  type Choice = Chunk['choices'][number];
  /** The choices whose prompt's ids have been written; all choices of a chat have one prompt. */
  const opened = new Set<number>();
  const promptIdsOf = (index: number) => {
    const owner = shape.promptMembers === 'response' ? 0 : index;
    if (!showsIds || opened.has(owner)) return {};
    opened.add(owner);
    return { prompt_token_ids: choices[index]!.request.promptIds };
  };
  const writeChoice = (
    index: number,
    content: object,
    {
      logprobs = null,
      reason = null,
      tokenIds = [],
      ...counts
    }: ChoiceTokens & {
      logprobs?: Choice['logprobs'];
      reason?: Choice['finish_reason'];
      tokenIds?: readonly number[];
    },
  ) => {
    const ids = showsIds && { token_ids: tokenIds };
    const promptIds = promptIdsOf(index);
    const [ofResponse, ofChoice] =
      shape.promptMembers === 'response' ? [promptIds] : [{}, promptIds];
    const choice = { index, ...content, logprobs, finish_reason: reason, ...ids, ...ofChoice };
    write([choice] as Chunk['choices'], { ...usageOf(index, counts), ...ofResponse });
  };
  const parsers = tools && choices.map(() => ({ parser: tools.createParser(), hasCalls: false }));
  const firstContent = tools ? shape.calls?.opening : shape.opening;
  const toContent = (part: CompletionPart) =>
    part.type === 'content' ? shape.delta(part.text) : shape.calls!.delta(part);
  const readParts = (index: number, text: string | undefined): CompletionPart[] => {
    const choice = parsers?.[index];
    if (!choice) return text === undefined ? [] : [{ type: 'content', text }];
    const parts = text === undefined ? choice.parser.end() : choice.parser.push(text);
    choice.hasCalls ||= parts.some(({ type }) => type === 'call');
    return parts;
  };
  const toLogprobs = (
    index: number,
    { logprobs, promptLogprobs }: Pick<StreamPart, 'logprobs' | 'promptLogprobs'>,
  ) => {
    if (logprobs.length === 0 && !promptLogprobs) return null;
    const ids = choices[index]!.request.promptIds;
    return scoreWriters[index]!(logprobs, promptLogprobs && { ids, logprobs: promptLogprobs });
  };
  return {
    open(index) {
      if (firstContent) writeChoice(index, firstContent, NO_TOKENS);
    },
    /** Writes a chunk for each part. The first chunk carries the scores and the ids of all. */
    add(index, { text, tokenIds, tokens, cachedTokens, ...scores }) {
      const counts = { tokens, cachedTokens };
      const logprobs = toLogprobs(index, scores);
      const contents = readParts(index, text).map(toContent);
      if (contents.length === 0 && (logprobs || tokenIds.length > 0)) contents.push(shape.delta());
      for (const [i, content] of contents.entries()) {
        writeChoice(index, content, i > 0 ? counts : { ...counts, logprobs, tokenIds });
      }
    },
    finish(index, { reason: ending }, { tokens, cachedTokens }) {
      const counts = { tokens, cachedTokens };
      for (const part of readParts(index, undefined)) writeChoice(index, toContent(part), counts);
      const hasCalls = parsers?.[index]?.hasCalls && ending === 'stop';
      const reason = hasCalls ? shape.calls!.reason : ending;
      writeChoice(index, shape.delta(), { ...counts, reason });
    },
    end(counts) {
      if (usage !== 'none') write([], { usage: toUsage(counts) });
      send(toFrame('[DONE]'));
    },
    fail: (error) => send(toFrame(JSON.stringify(toEnvelope(error)))),
  };
}

/** Collects the choices of a generation into one JSON response. */
function createWholeResponse(
  plan: GenerationPlan,
  { id, ...head }: ResponseHead,
  shape: ChoiceShape,
): DocumentWriter {
  const names = createTokenNames(plan.model.tokenizer, plan.logprobs);
  const choices = plan.choices.map(({ echo, request }) => ({
    text: echo,
    logprobs: plan.logprobs.isShown ? new LogprobsText(shape.createLogprobs(names)) : undefined,
    finishReason: '',
    tokenIds: [] as number[],
    /** The ids and the scores of its prompt as further members, if they are shown. */
    promptMembers: plan.showsIds ? `,"prompt_token_ids":${JSON.stringify(request.promptIds)}` : '',
  }));
  const write = ({ text, logprobs, ...choice }: (typeof choices)[number], index: number) => {
    const parser = plan.tools?.createParser();
    const { content, calls } = parser
      ? parseCompletion(parser, text)
      : { content: text, calls: [] };
    const hasCalls = calls.length > 0 && choice.finishReason === 'stop';
    const opening = JSON.stringify({ index, ...shape.content(content, calls) }).slice(0, -1);
    const reason = JSON.stringify(hasCalls ? shape.calls!.reason : choice.finishReason);
    const ids = plan.showsIds ? `,"token_ids":${JSON.stringify(choice.tokenIds)}` : '';
    const ofPrompt = shape.promptMembers === 'choice' ? choice.promptMembers : '';
    return [
      `${index === 0 ? '' : ','}${opening},"logprobs":`,
      ...(logprobs?.toJson() ?? ['null']),
      `,"finish_reason":${reason}${ids}${ofPrompt}}`,
    ];
  };
  return {
    write(event) {
      if (event.type === 'started') return;
      const choice = choices[event.index]!;
      if (event.type === 'token') {
        choice.text += event.text;
        if (plan.showsIds) choice.tokenIds.push(event.tokenId);
        if (event.logprob) choice.logprobs?.add([event.logprob]);
      } else if (event.type === 'finished') {
        choice.text += event.rest;
        choice.finishReason = event.reason;
      } else if (event.type === 'prompt') {
        const { echoed, prompt } = plan.logprobs;
        const { promptIds } = plan.choices[event.index]!.request;
        if (echoed !== undefined) {
          const scores = { ids: promptIds, logprobs: withTop(event.logprobs, echoed) };
          choice.logprobs?.add([], scores);
        }
        if (prompt === undefined) return;
        const scores = writePromptLogprobs(withTop(event.logprobs, prompt), names);
        choice.promptMembers += `,"prompt_logprobs":${scores}`;
      }
    },
    end(counts) {
      const opening = JSON.stringify({ id, object: shape.object, ...head }).slice(0, -1);
      const usage = JSON.stringify(toUsage(counts));
      const ofPrompt = shape.promptMembers === 'response' ? choices[0]!.promptMembers : '';
      const parts = [
        `${opening},"choices":[`,
        ...choices.flatMap(write),
        `],"usage":${usage}${ofPrompt}}`,
      ];
      return Buffer.concat(
        parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)),
      );
    },
  };
}
