// Renders a conversation as a prompt. If it does not fit and the request allows it, drops the oldest turns.
import { ServeError } from '../../common/errors.ts';
import type { ConversationItem } from '../../contracts/responses.ts';
import type { ResponseRequest } from '../schema/responses.ts';
import { toMessages } from './conversation.ts';
import type { PromptRequest } from './prepare-generation.ts';
import { prepareMessages, toRenderOptions } from './prompts.ts';

/** The share of the context that stays free for the completion if old turns are dropped and the request sets no limit. */
const ANSWER_SHARE = 1 / 4;

/** A conversation and its prompt. */
interface Rendered {
  readonly items: readonly ConversationItem[];
  readonly ids: readonly number[];
}

/** Renders the conversation. Drops its oldest turns if the request allows it. */
export async function renderItems(
  conversation: readonly ConversationItem[],
  { body, tools, ...request }: PromptRequest<ResponseRequest>,
): Promise<Rendered> {
  const { maxSeqLength } = request.model;
  const effort = body.reasoning?.effort ?? null;
  const options = {
    ...toRenderOptions({ ...body, reasoning_effort: effort }),
    param: 'input',
    tools,
  } as const;
  const render = async (items: readonly ConversationItem[]) => {
    const { ids } = await prepareMessages(toMessages(items, body.instructions), request, options);
    return { items, ids };
  };
  if (body.truncation !== 'auto') return render(conversation);
  const answerTokens = body.max_output_tokens ?? Math.ceil(maxSeqLength * ANSWER_SHARE);
  return dropOldTurns(conversation, { maxTokens: maxSeqLength - answerTokens, render });
}

/** How to shorten a conversation. */
interface FitOptions {
  /** The most tokens of the prompt. */
  readonly maxTokens: number;
  /** Rejects if the conversation is far too long. */
  render(items: readonly ConversationItem[]): Promise<Rendered>;
}

/**
 * Drops the oldest turns until the rest fits. Keeps system messages. A turn begins with a user message, because many templates
 * expect that. If even the last turn does not fit, renders it as it is.
 */
async function dropOldTurns(
  items: readonly ConversationItem[],
  { maxTokens, render }: FitOptions,
): Promise<Rendered> {
  const roles = items.map((item) => (item.type === 'message' ? item.role : undefined));
  const starts = roles.flatMap((role, i) => (role === 'user' && i > 0 ? [i] : []));
  const isSystem = (i: number) => roles[i] === 'system' || roles[i] === 'developer';
  const from = (start: number) => items.filter((_, i) => i >= start || isSystem(i));
  const renderIfFits = async (start: number): Promise<Rendered | undefined> => {
    try {
      const rendered = await render(from(start));
      return rendered.ids.length <= maxTokens ? rendered : undefined;
    } catch (error) {
      if (error instanceof ServeError && error.code === 'context_length_exceeded') return undefined;
      throw error;
    }
  };
  if (starts.length === 0) return render(items);
  let longest = await renderIfFits(0);
  if (longest) return longest;
  let [low, high] = [0, starts.length - 1]; // binary search for the first start that fits, if any does
  while (low < high) {
    const middle = (low + high) >> 1;
    const rendered = await renderIfFits(starts[middle]!);
    if (rendered) [longest, high] = [rendered, middle];
    else low = middle + 1;
  }
  return longest ?? render(from(starts[low]!));
}
