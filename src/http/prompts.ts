// From what a client wrote to the engine's token ids, checked against the context.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ServeError } from '../common/errors.ts';
import type { ChatMessage, RenderOptions } from '../tokenizer/chat-template.ts';
import type { Deps } from './deps.ts';
import type { ChatRequest } from './schema/chat.ts';
import type { Prompts } from './schema/fields.ts';

export interface Prompt {
  ids: readonly number[];
  /** As it is repeated by `echo`. */
  text: string;
}

/** How a prompt that is too long is cut: as `truncate_prompt_tokens` and `truncation_side` say. */
export interface Truncation {
  /** At least 1; undefined: it is not cut. */
  maxTokens: number | undefined;
  side: 'left' | 'right';
}

const UNCUT: Truncation = { maxTokens: undefined, side: 'left' };

export interface PromptOptions {
  addSpecialTokens: boolean;
  truncation: Truncation;
  /** Throws for a prompt of so many tokens that does not fit the context. */
  checkFit(promptTokens: number): void;
}

/**
 * All prompts as token ids; the first one that does not fit the context ends the work. Between prompts others get their
 * turn, since tokenizing holds the event loop up.
 */
export async function preparePrompts(
  prompts: Prompts,
  deps: Deps,
  { addSpecialTokens, truncation, checkFit }: PromptOptions,
): Promise<Prompt[]> {
  const { tokenizer, limits } = deps;
  const decode = (ids: readonly number[]) => tokenizer?.decode(ids, { skipSpecials: true }) ?? '';
  if (prompts.kind === 'ids') {
    const kept = prompts.prompts.map((ids) => cutPrompt(ids, truncation));
    for (const { length } of kept) checkFit(length);
    return kept.map((ids) => ({ ids, text: decode(ids) }));
  }
  if (!tokenizer) throw needsTokenizer('prompt');
  const texts = prompts.texts.map((text) => boundText(text, truncation, deps));
  const prepared: Prompt[] = [];
  let charsInTurn = 0;
  for (const text of texts) {
    charsInTurn += text.length;
    if (charsInTurn > limits.maxCharsPerTurn) {
      await nextTurn();
      charsInTurn = text.length;
    }
    // A client that means control tokens gives ids: in text they would be an injection.
    const all = tokenizer.encode(text, { specials: false, affixes: addSpecialTokens });
    if (all.length === 0) {
      throw new ServeError('invalid_request', 'prompt: has no tokens', { param: 'prompt' });
    }
    const ids = cutPrompt(all, truncation);
    checkFit(ids.length);
    prepared.push({ ids, text: ids.length < all.length ? decode(ids) : text });
  }
  return prepared;
}

/** A text that is to be cut is cut roughly before it is tokenized; one that is not must be short enough. */
function boundText(text: string, { maxTokens, side }: Truncation, deps: Deps): string {
  if (maxTokens === undefined) {
    checkTextLength(text.length, 'prompt', deps);
    return text;
  }
  const most = mostCharacters(deps);
  if (text.length <= most) return text;
  return side === 'left' ? text.slice(-most) : text.slice(0, most);
}

/** One text as token ids, which may be none; nothing is cut. */
export function prepareText(
  text: string,
  deps: Deps,
  { addSpecialTokens }: { addSpecialTokens: boolean },
): Prompt {
  if (!deps.tokenizer) throw needsTokenizer('prompt');
  checkTextLength(text.length, 'prompt', deps);
  return { ids: deps.tokenizer.encode(text, { specials: false, affixes: addSpecialTokens }), text };
}

export interface MessageOptions extends RenderOptions {
  /** By default a conversation is not cut. */
  truncation?: Truncation;
}

/** A conversation as the chat template writes it. */
export function prepareMessages(
  messages: readonly ChatMessage[],
  deps: Deps,
  { truncation = UNCUT, ...options }: MessageOptions,
): Prompt {
  const { tokenizer, chatTemplate } = deps;
  if (!tokenizer) throw needsTokenizer('messages');
  if (!chatTemplate) {
    const message = 'This model has no chat template: use /v1/completions';
    throw new ServeError('invalid_request', message, { param: 'messages' });
  }
  const length = messages.reduce((sum, { content }) => sum + content.length, 0);
  checkTextLength(length, 'messages', deps);
  const { ids } = chatTemplate.render(messages, options);
  return { ids: cutPrompt(ids, truncation), text: '' };
}

/** What a chat's fields say about its rendering, as the template takes it. */
export function toRenderOptions(
  body: Pick<
    ChatRequest,
    'add_generation_prompt' | 'continue_final_message' | 'chat_template_kwargs'
  > & { reasoning_effort?: string | null | undefined },
): RenderOptions {
  const continuesFinalMessage = body.continue_final_message ?? false;
  const effort = body.reasoning_effort;
  return {
    addGenerationPrompt: body.add_generation_prompt ?? !continuesFinalMessage,
    continuesFinalMessage,
    variables: {
      ...(effort != null && { reasoning_effort: effort }),
      ...body.chat_template_kwargs,
    },
  };
}

/** As `truncate_prompt_tokens` says; -1 leaves room for what is asked for, or for one token. */
export function toTruncation(
  body: Pick<ChatRequest, 'truncate_prompt_tokens' | 'truncation_side'>,
  askedTokens: number | undefined,
  { model }: Deps,
): Truncation {
  const { truncate_prompt_tokens: count, truncation_side: side } = body;
  const room = Math.max(1, model.maxSeqLength - Math.max(1, askedTokens ?? 1));
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

/**
 * Words as the sequences of tokens that must not be generated: as they begin a text, and as they follow a space, if that
 * is another token. Throws `ServeError` for a word that has no tokens.
 */
export function toBadWords(words: readonly string[], { tokenizer }: Deps): number[][] {
  if (words.length === 0) return [];
  if (!tokenizer) throw needsTokenizer('bad_words');
  const encode = (text: string) => tokenizer.encode(text, { specials: false });
  return words.flatMap((word) => {
    const bare = word.trimStart();
    const alone = encode(bare);
    if (alone.length === 0) {
      const message = 'bad_words: each word must have at least one token';
      throw new ServeError('invalid_request', message, { param: 'bad_words' });
    }
    const spaced = encode(` ${bare}`);
    const isOther = spaced.length === alone.length && spaced[0] !== alone[0];
    return isOther ? [alone, spaced] : [alone];
  });
}

function needsTokenizer(param: string): ServeError {
  const message = `${param}: this model has no tokenizer: give a prompt as token ids`;
  return new ServeError('invalid_request', message, { param });
}

/** What a request holds its text in, as OpenAI's messages about the context call it. */
type PromptParam = 'messages' | 'prompt';

function mostCharacters({ model, limits }: Deps): number {
  return model.maxSeqLength * limits.maxCharsPerToken;
}

/** Tokenizing holds up the event loop in proportion to the text: what is far over the context is refused before. */
function checkTextLength(length: number, param: PromptParam, deps: Deps): void {
  const most = mostCharacters(deps);
  if (length <= most) return;
  throw new ServeError(
    'context_length_exceeded',
    `This model's maximum context length is ${deps.model.maxSeqLength} tokens. However, your ${param} has ` +
      `${length} characters, which is over the limit of ${most}. Please reduce the length of the ${param}.`,
    { param },
  );
}

export interface TokenBudget {
  promptTokens: number;
  /** Undefined: as many as `defaultTokens` and the context allow. */
  maxTokens: number | undefined;
  defaultTokens: number;
  param: PromptParam;
}

/**
 * How many tokens to generate. Throws in OpenAI's words, which clients look for, if prompt and answer do not fit the
 * context together.
 */
export function resolveMaxTokens(budget: TokenBudget, maxSeqLength: number): number {
  const { promptTokens, defaultTokens, param } = budget;
  const room = maxSeqLength - promptTokens;
  const asked = budget.maxTokens ?? Math.max(1, Math.min(defaultTokens, room));
  if (asked <= room) return asked;
  throw new ServeError(
    'context_length_exceeded',
    `This model's maximum context length is ${maxSeqLength} tokens. However, you requested ` +
      `${promptTokens + asked} tokens (${promptTokens} in the ${param}, ${asked} in the completion). ` +
      `Please reduce the length of the ${param} or completion.`,
    { param },
  );
}
