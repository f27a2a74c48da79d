// Renders a conversation as a prompt, without its oldest turns if they don't fit and the request allows to drop them.
import { ServeError } from '../../common/errors.ts';
import type { ConversationItem } from '../../contracts/responses.ts';
import type { RenderOptions } from '../../tokenizer/chat-template.ts';
import type { Deps } from '../deps.ts';
import { prepareMessages, toRenderOptions } from '../prompts.ts';
import { toMessages } from './conversation.ts';
import type { DefaultedRequest } from './response-settings.ts';

/** The share of the context that is left for the answer if old turns are dropped and the request sets no limit. */
const ANSWER_SHARE = 1 / 4;

/** Renders the conversation, without the turns that are dropped if the request allows it. */
export async function renderItems(
  conversation: readonly ConversationItem[],
  { body, tools }: { body: DefaultedRequest; tools: RenderOptions['tools'] },
  deps: Deps,
): Promise<{ items: readonly ConversationItem[]; ids: readonly number[] }> {
  const { maxSeqLength } = deps.model;
  const effort = body.reasoning?.effort ?? null;
  const options = {
    ...toRenderOptions({ ...body, reasoning_effort: effort }),
    param: 'input',
    tools,
  } as const;
  const render = async (items: readonly ConversationItem[]) =>
    (await prepareMessages(toMessages(items, body.instructions), deps, options)).ids;
  if (body.truncation !== 'auto') return { items: conversation, ids: await render(conversation) };
  const answerTokens = body.max_completion_tokens ?? Math.ceil(maxSeqLength * ANSWER_SHARE);
  const maxTokens = maxSeqLength - answerTokens;
  const count = async (items: readonly ConversationItem[]) => (await render(items)).length;
  const items = await dropOldTurns(conversation, { maxTokens, count });
  return { items, ids: await render(items) };
}

/** How to shorten a conversation. */
interface FitOptions {
  /** Tokens that the prompt may have. */
  readonly maxTokens: number;
  /** Returns the tokens of a conversation. Rejects if it is far too long. */
  count(items: readonly ConversationItem[]): Promise<number>;
}

/**
 * Drops the oldest turns until the rest fits, and keeps system messages. A turn begins with a message of the user, because
 * many templates expect that. If even the last turn does not fit, it is returned as it is.
 */
async function dropOldTurns(
  items: readonly ConversationItem[],
  { maxTokens, count }: FitOptions,
): Promise<readonly ConversationItem[]> {
  const roles = items.map((item) => (item.type === 'message' ? item.role : undefined));
  const starts = roles.flatMap((role, i) => (role === 'user' && i > 0 ? [i] : []));
  const isSystem = (i: number) => roles[i] === 'system' || roles[i] === 'developer';
  const from = (start: number) => items.filter((_, i) => i >= start || isSystem(i));
  const fits = async (start: number) => {
    try {
      return (await count(from(start))) <= maxTokens;
    } catch (error) {
      if (error instanceof ServeError && error.code === 'context_length_exceeded') return false;
      throw error;
    }
  };
  if (starts.length === 0 || (await fits(0))) return items;
  let [low, high] = [0, starts.length - 1]; // the first start that fits is among these, if any is
  while (low < high) {
    const middle = (low + high) >> 1;
    if (await fits(starts[middle]!)) high = middle;
    else low = middle + 1;
  }
  return from(starts[low]!);
}
