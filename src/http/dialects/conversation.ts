// The conversation that a response continues: the items that the server kept, then the request's items. Renders it as a prompt.
// If it does not fit and the request allows it, drops the oldest turns.
import { fieldError, ServeError } from '../../common/errors.ts';
import type { ApiResponse, ConversationItem } from '../../contracts/responses.ts';
import { type CallMessage, findOrphan } from '../../contracts/tools.ts';
import type { Conversation, Conversations } from '../../conversations/conversations.ts';
import type { KeptResponse, KeptResponses } from '../../conversations/kept-responses.ts';
import type { ChatMessage } from '../../tokenizer/template-values.ts';
import { type PromptRequest, prepareMessages } from '../request/prompts.ts';
import type { InputItem, ReasoningItem } from '../schema/response-items.ts';
import type { ResponseRequest } from '../schema/responses.ts';
import { outputOf } from './kept-items.ts';
import { toRenderOptions } from './render-options.ts';
import { inputIdOf, responseIdOf } from './response-draft.ts';

/** A tenant's kept responses and conversations. Undefined if the server keeps none. */
interface TenantResponses {
  readonly responses: KeptResponses | undefined;
  readonly conversations: Conversations | undefined;
  readonly tenant: string;
  readonly signal: AbortSignal;
}

/** The fields of a request that its conversation is built from. */
interface ConversationRequest {
  readonly input: readonly InputItem[];
  readonly previous_response_id?: string | null | undefined;
  readonly conversation?: string | null | undefined;
}

/** The items of a conversation: the kept ones, then the request's. */
interface OpenConversation {
  readonly items: readonly ConversationItem[];
  /** How many of them were kept. */
  readonly keptCount: number;
}

/**
 * Returns the items of the conversation, without reasoning. Throws `ServeError` (400, 404) if the previous response, the
 * conversation or a referenced item is unknown, has expired or belongs to another tenant.
 */
export async function openConversation(
  { input, previous_response_id: previousId, conversation }: ConversationRequest,
  tenantResponses: TenantResponses,
): Promise<OpenConversation> {
  const previous =
    previousId != null
      ? await readPrevious(previousId, tenantResponses)
      : conversation != null
        ? await readConversation(conversation, tenantResponses)
        : [];
  const items: (ConversationItem | ReasoningItem)[] = [...previous];
  const read = createItemReader(tenantResponses);
  for (const [i, item] of input.entries()) {
    items.push(item.type === 'item_reference' ? await read(item.id, `input[${i}].id`) : item);
  }
  const orphan = findOrphan(items.map(toCallMessage)) - previous.length;
  if (orphan < 0) {
    return {
      items: items.filter((item) => item.type !== 'reasoning'),
      keptCount: previous.length,
    };
  }
  const param = `input[${orphan}].call_id`;
  const fault =
    'no earlier function call has this id. Send the function_call item before its output';
  throw fieldError(param, fault);
}

function toCallMessage(item: ConversationItem | ReasoningItem): CallMessage {
  if (item.type === 'function_call_output') return { toolCallId: item.call_id };
  return item.type === 'function_call' ? { toolCalls: [{ ...item, id: item.call_id }] } : {};
}

async function readPrevious(
  id: string,
  { responses, tenant, signal }: TenantResponses,
): Promise<ConversationItem[]> {
  const param = 'previous_response_id';
  const response = await responses?.find(tenant, id, { signal, param });
  if (response?.endsMs !== undefined) {
    throw fieldError(param, 'this response has not ended yet. Wait for it, or cancel it');
  }
  if (response) return [...response.input, ...response.output];
  const message = `Previous response with id ${quoted(id)} not found.`;
  throw new ServeError('previous_response_not_found', message, { param });
}

async function readConversation(
  id: string,
  { conversations, tenant, signal }: TenantResponses,
): Promise<ConversationItem[]> {
  const kept = await conversations?.find(tenant, id, { signal, param: 'conversation' });
  if (kept) return kept.items.map(({ item }) => item);
  throw conversationNotFound(id);
}

function conversationNotFound(id: string): ServeError {
  const message = `Conversation with id ${quoted(id)} not found.`;
  return new ServeError('not_found', message, { param: 'conversation' });
}

/** Each costs a read of the store. A client that refers to every turn of a conversation needs one per turn. */
const MAX_REFERRED_RESPONSES = 256;

/** Returns a reader of the items that a request refers to. It reads each response at most once. */
function createItemReader({ responses, tenant, signal }: TenantResponses) {
  const itemsByResponse = new Map<string, Map<string, ConversationItem>>();
  const readResponse = async (id: string, param: string) => {
    const response = await responses?.find(tenant, id, { signal, param });
    return response ? itemsOf(id, response) : new Map<string, ConversationItem>();
  };
  return async (id: string, param: string): Promise<ConversationItem> => {
    const responseId = responseIdOf(id);
    if (responseId !== undefined && !itemsByResponse.has(responseId)) {
      if (itemsByResponse.size >= MAX_REFERRED_RESPONSES) {
        const fault = `A request may refer to at most ${MAX_REFERRED_RESPONSES} responses.`;
        throw fieldError(param, fault);
      }
      itemsByResponse.set(responseId, await readResponse(responseId, param));
    }
    const item = responseId === undefined ? undefined : itemsByResponse.get(responseId)!.get(id);
    if (item) return item;
    throw fieldError(param, `Item with id ${quoted(id)} not found.`);
  };
}

/** Maps the ids of a kept response's items to the items. */
function itemsOf(responseId: string, { input, output, response }: KeptResponse) {
  const outputItems = (JSON.parse(response) as ApiResponse).output;
  return new Map([
    ...input.map((item, i) => [inputIdOf(responseId, i), item] as const),
    ...output.map((item, i) => [outputItems[i]!.id, item] as const),
  ]);
}

/** How many characters of an id an error repeats. */
const MAX_ID_LENGTH = 64;

function quoted(id: string): string {
  return `'${id.slice(0, MAX_ID_LENGTH)}'`;
}

/** Returns the messages for the chat template, instructions first. Calls become part of the preceding assistant message. */
function toMessages(
  items: readonly ConversationItem[],
  instructions: string | null | undefined,
): ChatMessage[] {
  const messages: ChatMessage[] = [];
  if (instructions) messages.push({ role: 'system', content: instructions });
  for (const item of items) {
    if (item.type === 'function_call') addCall(messages, item);
    else messages.push(toMessage(item));
  }
  return messages;
}

type CallItem = Extract<ConversationItem, { type: 'function_call' }>;

function addCall(messages: ChatMessage[], { call_id: id, name, ...call }: CallItem): void {
  const last = messages.at(-1);
  const isOpen = last?.role === 'assistant';
  const { toolCalls = [], ...message } = isOpen ? last : { role: 'assistant', content: '' };
  const assistantMessage = {
    ...message,
    toolCalls: [...toolCalls, { id, name, arguments: call.arguments }],
  };
  messages.splice(isOpen ? -1 : messages.length, isOpen ? 1 : 0, assistantMessage);
}

function toMessage(item: Exclude<ConversationItem, CallItem>): ChatMessage {
  if (item.type === 'function_call_output') {
    return { role: 'tool', content: item.output, toolCallId: item.call_id };
  }
  return { role: item.role === 'developer' ? 'system' : item.role, content: item.content };
}

/** Adds the items of a request and its response to their conversation, if they have one. */
export async function continueConversation(
  response: ApiResponse,
  { items, keptCount }: OpenConversation,
  { conversations, tenant, signal }: TenantResponses,
): Promise<void> {
  if (!response.conversation) return;
  const { id } = response.conversation;
  const input = items.map((item, i) => ({ id: inputIdOf(response.id, i), item })).slice(keptCount);
  const added = [...input, ...outputOf(response)];
  const change = (now: Conversation) => ({ ...now, items: [...now.items, ...added] });
  const after = await conversations!.change(tenant, id, change, { signal, param: 'conversation' });
  if (!after) throw conversationNotFound(id); // it was deleted meanwhile
}

/** The share of the context that stays free for the completion if old turns are dropped and the request sets no limit. */
const COMPLETION_SHARE = 1 / 4;

/** A conversation and its prompt. */
interface Rendered {
  readonly items: readonly ConversationItem[];
  readonly ids: readonly number[];
}

/** Renders the conversation. Drops its oldest turns if the request allows it. */
export async function renderItems(
  conversation: readonly ConversationItem[],
  body: ResponseRequest,
  request: PromptRequest,
): Promise<Rendered> {
  const { tools, param } = request;
  const { maxSeqLength } = request.model;
  const hints = { reasoning_effort: body.reasoning?.effort, verbosity: body.text?.verbosity };
  const options = {
    ...toRenderOptions({ ...body, ...hints }),
    param,
    tools,
  };
  const render = async (items: readonly ConversationItem[]) => {
    const { ids } = await prepareMessages(toMessages(items, body.instructions), request, options);
    return { items, ids };
  };
  if (body.truncation !== 'auto') return render(conversation);
  const completionTokens = request.maxTokens ?? Math.ceil(maxSeqLength * COMPLETION_SHARE);
  return dropOldTurns(conversation, { maxTokens: maxSeqLength - completionTokens, render });
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
