// Turns prompts and conversations into token ids and checks that they fit the context.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fieldError, ServeError } from '../../common/errors.ts';
import type { RenderOptions } from '../../tokenizer/chat-template.ts';
import type { ChatMessage } from '../../tokenizer/template-values.ts';
import type { PromptParam } from '../generation/generation-plan.ts';
import type { ChatRequest } from '../schema/chat.ts';
import type { Prompts } from '../schema/fields.ts';
import type { ModelRequest, RequestModel, SamplingFields } from './request-model.ts';

/** The input that the prompts of a request are built from. */
export type PromptInput =
  | { readonly kind: 'prompts'; readonly prompts: Prompts; readonly addSpecialTokens: boolean }
  | {
      readonly kind: 'messages';
      readonly messages: readonly ChatMessage[];
      readonly options: RenderOptions;
    }
  /** A conversation whose beginning has yet to be read. */
  | { readonly kind: 'kept'; render(request: PromptRequest): Promise<Prompt> };

/** A request that is ready for its prompts to be built. */
export interface PromptRequest extends ModelRequest {
  /** The sampling fields, with the model's defaults. */
  readonly sampling: SamplingFields;
  /** The max tokens of a completion, if the request or its dialect sets them. */
  readonly maxTokens: number | undefined;
  /** The tools that the prompt describes. */
  readonly tools: RenderOptions['tools'];
  /** The field that holds the prompts, for errors. */
  readonly param: PromptParam;
  readonly truncation: Truncation;
  /** Throws `ServeError` if a prompt of this many tokens and its completion do not fit the context. */
  checkFit(promptTokens: number): void;
}

/** Returns the prompts of a request as token ids. */
export async function encodePrompt(
  input: PromptInput,
  request: PromptRequest,
): Promise<readonly Prompt[]> {
  const { tools, truncation, param } = request;
  switch (input.kind) {
    case 'prompts': {
      const { prompts, addSpecialTokens } = input;
      return preparePrompts(prompts, request, { ...request, addSpecialTokens });
    }
    case 'messages': {
      const options = { ...input.options, tools, truncation, param };
      return [await prepareMessages(input.messages, request, options)];
    }
    case 'kept':
      return [await input.render(request)];
  }
}

/** A prompt in the form that the engine takes. */
export interface Prompt {
  ids: readonly number[];
  /** The whole prompt, if the request gave it as one text. */
  text?: string;
}

/** How to cut a prompt that is too long, from `truncate_prompt_tokens` and `truncation_side`. */
interface Truncation {
  /** At least 1. Undefined if the prompt is not cut. */
  maxTokens: number | undefined;
  side: 'left' | 'right';
}

/** Rendering a message takes about as long as tokenizing this many characters. */
const CHARS_PER_MESSAGE = 32;

const UNCUT: Truncation = { maxTokens: undefined, side: 'left' };

/** How to read the prompts of a request. */
interface PromptOptions extends Pick<PromptRequest, 'truncation' | 'param' | 'checkFit'> {
  readonly addSpecialTokens: boolean;
}

/**
 * Returns all prompts as token ids. Throws `ServeError` at the first prompt that does not fit the context. Yields to the event
 * loop between prompts, because tokenizing blocks it.
 */
export async function preparePrompts(
  prompts: Prompts,
  request: ModelRequest,
  { addSpecialTokens, truncation, param, checkFit }: PromptOptions,
): Promise<Prompt[]> {
  const { tokenizer } = request.model;
  const { limits } = request.deps;
  if (prompts.kind === 'ids') {
    const idLists = prompts.prompts.map((ids) => cutPrompt(ids, truncation));
    for (const { length } of idLists) checkFit(length);
    return idLists.map((ids) => ({ ids }));
  }
  if (!tokenizer) throw needsTokenizer(param);
  const texts = prompts.texts.map((text) => boundText(text, param, truncation, request));
  const results: Prompt[] = [];
  let charsInTurn = 0;
  for (const text of texts) {
    charsInTurn += text.length;
    if (charsInTurn > limits.maxCharsPerTurn) {
      await nextTurn();
      charsInTurn = text.length;
    }
    const all = await encodeText(text, request, { affixes: addSpecialTokens, param });
    if (all.length === 0) {
      throw fieldError(param, 'is empty: it has no tokens. Send some text or at least one token');
    }
    const ids = cutPrompt(all, truncation);
    checkFit(ids.length);
    results.push({ ids, ...(ids.length === all.length && { text }) });
  }
  return results;
}

/** Roughly cuts a text before it is tokenized. Throws `ServeError` if the text is too long and must not be cut. */
function boundText(
  text: string,
  param: PromptParam,
  { maxTokens, side }: Truncation,
  request: ModelRequest,
): string {
  if (maxTokens === undefined) {
    checkTextLength(text.length, param, request);
    return text;
  }
  const max = maxCharacters(request);
  if (text.length <= max) return text;
  return side === 'left' ? text.slice(-max) : text.slice(0, max);
}

/** Returns the token ids of a text, which may be none. Does not cut it. */
export async function prepareText(
  text: string,
  request: ModelRequest,
  { addSpecialTokens }: { addSpecialTokens: boolean },
): Promise<Prompt> {
  if (!request.model.tokenizer) throw needsTokenizer('prompt');
  checkTextLength(text.length, 'prompt', request);
  const options = { affixes: addSpecialTokens, param: 'prompt' } as const;
  return { ids: await encodeText(text, request, options) };
}

/**
 * Encodes a text, on the event loop if it is short, else in another process. Control tokens in a text would be an injection, so
 * they are encoded as plain text. A client that wants them sends token ids.
 */
function encodeText(
  text: string,
  request: ModelRequest,
  { affixes, param }: { affixes: boolean; param: PromptParam | 'prediction' },
): Promise<readonly number[]> {
  const { tokenizer, longPrompts } = request.model;
  return refusingFailures(param, request, async () =>
    longPrompts && text.length > request.deps.limits.maxCharsPerTurn
      ? longPrompts.encode(text, { affixes })
      : tokenizer!.encode(text, { specials: false, affixes }),
  );
}

/**
 * A tokenizer that fails on a text would fail again. The status is 400 and not 500, so that clients do not retry. The template
 * calls the conversation `messages`. Its errors must name the request's own field.
 */
async function refusingFailures<T>(
  param: PromptParam | 'prediction',
  { deps }: ModelRequest,
  tokenize: () => Promise<T>,
): Promise<T> {
  try {
    return await tokenize();
  } catch (error) {
    if (!(error instanceof ServeError)) {
      deps.log.error({ err: error }, 'the tokenizer failed');
      throw fieldError(param, 'this text cannot be tokenized', error);
    }
    if (error.param !== 'messages') throw error;
    const message = error.message.replace(/^messages\b/, param);
    throw new ServeError(error.code, message, { param, cause: error.cause });
  }
}

/** How to render a conversation. */
interface MessageOptions extends RenderOptions {
  /** Default: the conversation is not cut. */
  truncation?: Truncation;
  /** The field that holds the conversation, for errors. */
  param?: PromptParam;
}

/** Renders a conversation with the chat template and returns its token ids. */
export async function prepareMessages(
  messages: readonly ChatMessage[],
  request: ModelRequest,
  { truncation = UNCUT, param = 'messages', ...options }: MessageOptions,
): Promise<Prompt> {
  const { tokenizer, chatTemplate, longPrompts } = request.model;
  if (!tokenizer) throw needsTokenizer(param);
  if (!chatTemplate) {
    const message = 'This model has no chat template. Send a prompt to /v1/completions instead.';
    throw new ServeError('invalid_request', message, { param });
  }
  const length = textLength(messages, options.tools);
  checkTextLength(length, param, request);
  const isLong = length + CHARS_PER_MESSAGE * messages.length > request.deps.limits.maxCharsPerTurn;
  const ids = await refusingFailures(param, request, async () =>
    longPrompts && isLong
      ? longPrompts.render(messages, options)
      : chatTemplate.render(messages, options).ids,
  );
  return { ids: cutPrompt(ids, truncation) };
}

/** Counts the characters of messages, their calls and tools. */
function textLength(messages: readonly ChatMessage[], tools: RenderOptions['tools'] = []): number {
  let length = tools.length === 0 ? 0 : JSON.stringify(tools).length;
  for (const { content, toolCalls = [] } of messages) {
    length += content.length;
    for (const call of toolCalls) length += call.name.length + call.arguments.length;
  }
  return length;
}

/** Reads how to truncate prompts. With -1, a prompt leaves room for the requested tokens, or for one token. */
export function toTruncation(
  body: Pick<ChatRequest, 'truncate_prompt_tokens' | 'truncation_side'>,
  requestedTokens: number | undefined,
  { maxSeqLength }: Pick<RequestModel, 'maxSeqLength'>,
): Truncation {
  const { truncate_prompt_tokens: count, truncation_side: side } = body;
  const room = Math.max(1, maxSeqLength - (requestedTokens ?? 1));
  const maxTokens = count == null ? undefined : count < 0 ? room : count;
  return { maxTokens, side: side ?? 'left' };
}

function cutPrompt(
  ids: readonly number[],
  { maxTokens = ids.length, side }: Truncation,
): readonly number[] {
  if (ids.length <= maxTokens) return ids;
  return side === 'left' ? ids.slice(-maxTokens) : ids.slice(0, maxTokens);
}

/** Returns the banned words, trimmed. Throws `ServeError` for a word that consists of spaces. */
export function toBadWords(
  words: readonly string[],
  { tokenizer }: RequestModel,
): readonly string[] {
  if (words.length === 0) return [];
  if (!tokenizer) throw needsTokenizer('bad_words');
  const trimmed = new Set(words.map((word) => word.trim()));
  if (!trimmed.has('')) return [...trimmed];
  throw fieldError('bad_words', 'each word must contain a character other than a space');
}

/** Returns the tokens of a predicted completion, up to the length that fits the context. */
export async function toPredictionIds(
  text: string | undefined,
  request: ModelRequest,
): Promise<readonly number[]> {
  if (!text || !request.model.tokenizer) return [];
  const options = { affixes: false, param: 'prediction' } as const;
  const ids = await encodeText(text.slice(0, maxCharacters(request)), request, options);
  return ids.slice(0, request.model.maxSeqLength);
}

function needsTokenizer(param: string): ServeError {
  return fieldError(param, 'this model has no tokenizer. Send token ids.');
}

function maxCharacters({ model, deps }: ModelRequest): number {
  return model.maxSeqLength * deps.limits.maxCharsPerToken;
}

/** Refuses text far longer than the context before it is tokenized, because tokenizing blocks the event loop. */
function checkTextLength(length: number, param: PromptParam, request: ModelRequest): void {
  const max = maxCharacters(request);
  if (length <= max) return;
  throw new ServeError(
    'context_length_exceeded',
    `This model's maximum context length is ${request.model.maxSeqLength} tokens. However, your ${param} has ` +
      `${length} characters, which is over the limit of ${max}. Please reduce the length of the ${param}.`,
    { param },
  );
}

/** The token limits of a request. */
interface TokenBudget {
  maxTokens: number;
  /** Whether the context may lower them. */
  isFitted: boolean;
  param: PromptParam;
}

/**
 * Returns how many tokens to generate. Throws `ServeError` if the prompt and the completion do not fit the context. The message
 * is OpenAI's, because clients match on it.
 */
export function resolveMaxTokens(
  promptTokens: number,
  maxSeqLength: number,
  { maxTokens, isFitted, param }: TokenBudget,
): number {
  const room = maxSeqLength - promptTokens;
  const tokens = isFitted ? Math.max(1, Math.min(maxTokens, room)) : maxTokens;
  if (tokens <= room) return tokens;
  throw new ServeError(
    'context_length_exceeded',
    `This model's maximum context length is ${maxSeqLength} tokens. However, you requested ` +
      `${promptTokens + tokens} tokens (${promptTokens} in the ${param}, ${tokens} in the completion). ` +
      `Please reduce the length of the ${param} or completion.`,
    { param },
  );
}
