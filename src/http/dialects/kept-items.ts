// Between items as the API writes them and items as the server keeps them.
import type {
  ApiResponse,
  ConversationItem,
  ResponseItem,
  ResponseOutputItem,
} from '../../contracts/responses.ts';
import type { StoredItem } from '../../conversations/conversations.ts';
import type { KeptResponse } from '../../conversations/kept-responses.ts';
import { inputIdOf, inputOf } from './response-draft.ts';

/** Returns the record of a response together with the items that it answered. */
export function toRecord(response: ApiResponse, input: readonly ConversationItem[]): KeptResponse {
  const output = outputOf(response).map(({ item }) => item);
  return { input: [...input], output, response: JSON.stringify(response) };
}

/** Returns the items of a response that later prompts show. */
export function outputOf({ output }: ApiResponse): StoredItem[] {
  // A call that was cut off is the last item. Its arguments are incomplete, so no template could show them.
  return output
    .filter(({ type, status }) => type === 'message' || status === 'completed')
    .map((item) => ({ id: item.id, item: toConversationItem(item) }));
}

function toConversationItem(item: ResponseOutputItem): ConversationItem {
  if (item.type === 'message') {
    const { type, role, content } = item;
    return { type, role, content: content.map(({ text }) => text).join('') };
  }
  if (item.type === 'custom_tool_call') {
    const { call_id, name, input } = item;
    const given = JSON.stringify({ input });
    return { type: 'function_call', call_id, name, arguments: given, isCustom: true };
  }
  const { type, call_id, name, arguments: given } = item;
  return { type, call_id, name, arguments: given };
}

/** Returns the items that a kept response answered, as the API writes them. */
export function toInputItems(
  responseId: string,
  items: readonly ConversationItem[],
): ResponseItem[] {
  return items.map((item, i) => toResponseItem(inputIdOf(responseId, i), item));
}

/** Writes an item as the API does. */
export function toResponseItem(id: string, item: ConversationItem): ResponseItem {
  const common = { id, status: 'completed' } as const;
  if (item.type !== 'message') return { ...toCallItem(item), ...common };
  const { content: text, ...message } = item;
  const type = item.role === 'assistant' ? 'output_text' : 'input_text';
  return { ...message, ...common, content: [{ type, text }] };
}

/** Writes a call or a result, without its id and status. */
function toCallItem({ isCustom, ...item }: Exclude<ConversationItem, { type: 'message' }>) {
  if (!isCustom) return item;
  if (item.type === 'function_call_output') {
    return { ...item, type: 'custom_tool_call_output' as const };
  }
  const { call_id, name, arguments: given } = item;
  return { type: 'custom_tool_call' as const, call_id, name, input: inputOf(given) };
}
