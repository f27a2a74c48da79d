// The conversation that a response answers: the items of earlier responses that the server kept, then those of the request.
import { ServeError } from '../../common/errors.ts';
import type {
  ApiResponse,
  ConversationItem,
  ResponseItem,
  ResponseOutputMessage,
} from '../../contracts/responses.ts';
import type { KeptResponses } from '../../conversations/kept-responses.ts';
import type { ChatMessage } from '../../tokenizer/template-values.ts';
import type { InputItem } from '../schema/response-items.ts';
import { itemIdOf, responseIdOf } from './item-ids.ts';

/** A tenant's kept responses; undefined if the server keeps none. */
export interface Kept {
  readonly responses: KeptResponses | undefined;
  readonly tenant: string;
  readonly signal: AbortSignal;
}

/** The part of a request that leads to items. */
interface ConversationRequest {
  readonly input: readonly InputItem[];
  readonly previous_response_id?: string | null | undefined;
}

/**
 * Returns the items to answer. Throws `ServeError` (400) if the previous response or an item that the input refers to is
 * unknown, expired or another tenant's.
 */
export async function openConversation(
  { input, previous_response_id: previousId }: ConversationRequest,
  kept: Kept,
): Promise<ConversationItem[]> {
  const previous = previousId == null ? [] : await readPrevious(previousId, kept);
  const items: ConversationItem[] = [...previous];
  for (const [i, item] of input.entries()) {
    items.push(item.type === 'item_reference' ? await readItem(item.id, i, kept) : item);
  }
  return items;
}

async function readPrevious(
  id: string,
  { responses, tenant, signal }: Kept,
): Promise<ConversationItem[]> {
  const found = await responses?.find(tenant, id, { signal });
  if (found) return [...found.input, ...found.output];
  const message = `Previous response with id ${quoted(id)} not found.`;
  throw new ServeError('previous_response_not_found', message, { param: 'previous_response_id' });
}

async function readItem(
  id: string,
  index: number,
  { responses, tenant, signal }: Kept,
): Promise<ConversationItem> {
  const responseId = responseIdOf(id);
  const found = responseId && (await responses?.find(tenant, responseId, { signal }));
  if (found) {
    const { output } = found.response as Pick<ApiResponse, 'output'>;
    const made = found.output[output.findIndex((item) => item.id === id)];
    const given = found.input.find((_, i) => itemIdOf(responseId, i) === id);
    const item = made ?? given;
    if (item) return item;
  }
  const param = `input[${index}].id`;
  throw new ServeError('invalid_request', `${param}: Item with id ${quoted(id)} not found.`, {
    param,
  });
}

/** An error repeats at most this much of an id. */
const MAX_ID_LENGTH = 64;

function quoted(id: string): string {
  return `'${id.slice(0, MAX_ID_LENGTH)}'`;
}

/** Returns the messages for the chat template. The instructions come first. */
export function toMessages(
  items: readonly ConversationItem[],
  instructions: string | null | undefined,
): ChatMessage[] {
  const messages = items.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    content,
  }));
  return instructions ? [{ role: 'system', content: instructions }, ...messages] : messages;
}

/** Keeps a response and the items that it answered. */
export async function keepResponse(
  response: ApiResponse,
  input: readonly ConversationItem[],
  { responses, tenant, signal }: Kept,
): Promise<void> {
  const output = response.output.map(toConversationItem);
  await responses!.keep(tenant, response.id, { input: [...input], output, response }, { signal });
}

function toConversationItem({ role, content }: ResponseOutputMessage): ConversationItem {
  return { type: 'message', role, content: content.map(({ text }) => text).join('') };
}

/** Writes the items that a kept response answered. */
export function toInputItems(
  responseId: string,
  items: readonly ConversationItem[],
): ResponseItem[] {
  return items.map(({ type, role, content }, i) => ({
    type,
    id: itemIdOf(responseId, i),
    status: 'completed',
    role,
    content: [{ type: role === 'assistant' ? 'output_text' : 'input_text', text: content }],
  }));
}

/** How to shorten a conversation. */
interface FitOptions {
  /** Tokens that the prompt may have. */
  readonly maxTokens: number;
  /** Returns the tokens of a conversation. Throws if it is far too long. */
  count(items: readonly ConversationItem[]): number;
}

/**
 * Drops the oldest turns until the rest fits, and keeps system messages. A turn begins with a message of the user, because
 * many templates expect that. If even the last turn does not fit, it is returned as it is.
 */
export function dropOldTurns(
  items: readonly ConversationItem[],
  { maxTokens, count }: FitOptions,
): readonly ConversationItem[] {
  const starts = items.flatMap(({ role }, i) => (role === 'user' && i > 0 ? [i] : []));
  const from = (start: number) =>
    items.filter(({ role }, i) => i >= start || role === 'system' || role === 'developer');
  const fits = (start: number) => {
    try {
      return count(from(start)) <= maxTokens;
    } catch (error) {
      if (error instanceof ServeError && error.code === 'context_length_exceeded') return false;
      throw error;
    }
  };
  if (starts.length === 0 || fits(0)) return items;
  let [low, high] = [0, starts.length - 1]; // the first start that fits is among these, if any is
  while (low < high) {
    const middle = (low + high) >> 1;
    if (fits(starts[middle]!)) high = middle;
    else low = middle + 1;
  }
  return from(starts[low]!);
}
