// From what a client wrote to the engine's token ids, checked against the context.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ServeError } from '../errors.ts';
import type { ChatMessage } from '../tokenizer/chat-template.ts';
import type { Deps } from './deps.ts';
import type { Prompts } from './schema/fields.ts';

export interface Prompt {
  ids: readonly number[];
  /** As it is repeated by `echo`. */
  text: string;
}

/**
 * All prompts as token ids. `checkFit` throws for a prompt of so many tokens that does not fit the context: the first
 * one ends the work. Between prompts others get their turn, since tokenizing holds the event loop up.
 */
export async function preparePrompts(
  prompts: Prompts,
  deps: Deps,
  checkFit: (promptTokens: number) => void,
): Promise<Prompt[]> {
  const { tokenizer, limits } = deps;
  if (prompts.kind === 'ids') {
    for (const { length } of prompts.prompts) checkFit(length);
    return prompts.prompts.map((ids) => ({
      ids,
      text: tokenizer?.decode(ids, { skipSpecials: true }) ?? '',
    }));
  }
  if (!tokenizer) throw needsTokenizer('prompt');
  for (const text of prompts.texts) checkTextLength(text, 'prompt', deps);
  const prepared: Prompt[] = [];
  let charsInTurn = 0;
  for (const text of prompts.texts) {
    charsInTurn += text.length;
    if (charsInTurn > limits.maxCharsPerTurn) {
      await nextTurn();
      charsInTurn = text.length;
    }
    // A client that means control tokens gives ids: in text they would be an injection.
    const ids = tokenizer.encode(text, { specials: false, affixes: true });
    if (ids.length === 0) {
      throw new ServeError('invalid_request', 'prompt: has no tokens', { param: 'prompt' });
    }
    checkFit(ids.length);
    prepared.push({ ids, text });
  }
  return prepared;
}

export function prepareMessages(messages: readonly ChatMessage[], deps: Deps): Prompt {
  const { tokenizer, chatTemplate } = deps;
  if (!tokenizer) throw needsTokenizer('messages');
  if (!chatTemplate) {
    const message = 'This model has no chat template: use /v1/completions';
    throw new ServeError('invalid_request', message, { param: 'messages' });
  }
  const text = messages.map(({ content }) => content).join('');
  checkTextLength(text, 'messages', deps);
  return { ids: chatTemplate.render(messages, { addGenerationPrompt: true }).ids, text: '' };
}

function needsTokenizer(param: string): ServeError {
  const message = `${param}: this model has no tokenizer: give a prompt as token ids`;
  return new ServeError('invalid_request', message, { param });
}

/** Tokenizing holds up the event loop in proportion to the text: what is far over the context is refused before. */
function checkTextLength(text: string, param: string, { model, limits }: Deps): void {
  const most = model.maxSeqLength * limits.maxCharsPerToken;
  if (text.length <= most) return;
  throw new ServeError(
    'context_length_exceeded',
    `This model's context is ${model.maxSeqLength} tokens; ${text.length} characters are over the limit of ${most}`,
    { param },
  );
}

export interface TokenBudget {
  promptTokens: number;
  /** Undefined: as many as `defaultTokens` and the context allow. */
  maxTokens: number | undefined;
  defaultTokens: number;
  /** The field that asked. */
  param: string;
}

/** How many tokens to generate; throws where prompt and answer do not fit the context together. */
export function resolveMaxTokens(budget: TokenBudget, maxSeqLength: number): number {
  const { promptTokens, defaultTokens, param } = budget;
  const room = maxSeqLength - promptTokens;
  const asked = budget.maxTokens ?? Math.max(1, Math.min(defaultTokens, room));
  if (asked <= room) return asked;
  throw new ServeError(
    'context_length_exceeded',
    `This model's context is ${maxSeqLength} tokens; the request has ${promptTokens} in the prompt and asks for ` +
      `${asked} more`,
    { param },
  );
}
