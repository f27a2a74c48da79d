// A response object while it is written: its items (messages and calls), the object in each of its states, and the
// numbered events of its changes, in the order of the API. An item's id contains the response's, so it is found without an index.
import type { ServeError } from '../../common/errors.ts';
import { append } from '../../common/long-arrays.ts';
import type { TokenLogprob } from '../../contracts/generation.ts';
import { type ChatTokenLogprob, toUnixSeconds } from '../../contracts/openai.ts';
import type {
  ApiResponse,
  ResponseCustomCall,
  ResponseFunctionCall,
  ResponseOutputMessage,
  ResponseOutputText,
  ResponseSettings,
  ResponseUsage,
} from '../../contracts/responses.ts';
import type { CallParser, CompletionPart } from '../../tools/call-parser.ts';
import type {
  BackgroundKeeper,
  Ending,
  GenerationPlan,
  ResponseHead,
  TokenCounts,
} from '../generation/generation-plan.ts';
import type { Report, ReportingDraft } from './draft.ts';
import { createTokenNames, type TokenNames, toChatLogprob } from './logprobs.ts';

/** How a request wants its response to be written and kept. */
export interface ResponseOptions {
  readonly settings: ResponseSettings;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** Stores the response before its client learns that it is complete or, in the background, that it has failed. */
  keep(response: ApiResponse): Promise<void>;
  /** Stores the response before its first token. Aborting `cancellation` ends it. Absent: it is not in the background. */
  keepOpen?: ((response: ApiResponse, cancellation: AbortController) => Promise<void>) | undefined;
}

/** A message and its only text. */
interface MessageItem extends ResponseOutputMessage {
  content: [ResponseOutputText];
}

/** The place of an item's text. A message has only one. */
const IN_TEXT = { content_index: 0 };

/** Builds one response object. */
export class ResponseDraft implements ReportingDraft {
  readonly background: BackgroundKeeper | undefined;
  readonly #options: ResponseOptions;
  readonly #head: ResponseHead;
  /** Undefined if the completion is text only. */
  readonly #parser: CallParser | undefined;
  readonly #names: TokenNames;
  readonly #onEvent: Report;
  /** Clients check the order of events. */
  #sequenceNumber = 0;
  readonly #items: (MessageItem | ResponseFunctionCall | ResponseCustomCall)[] = [];
  /** The arguments of a custom tool's call so far. */
  #arguments = '';
  /** Scores of text that may still become a call. Calls have no scores. */
  #logprobs: ChatTokenLogprob[] = [];
  #isCutOff = false;

  constructor(
    options: ResponseOptions,
    { tools, model, logprobs }: GenerationPlan,
    { head, report }: { head: ResponseHead; report: Report },
  ) {
    this.#options = options;
    this.#head = head;
    this.#parser = tools?.createParser();
    this.#names = createTokenNames(model.tokenizer, logprobs);
    this.#onEvent = report;
    const { keep, keepOpen } = options;
    this.background = keepOpen && {
      open: async (cancellation) => {
        const response = this.#toStarted();
        await keepOpen(response, cancellation);
        return response;
      },
      fail: (error) => keep(this.#toFailed(error)),
    };
  }

  start(): void {
    const response = this.#toStarted();
    this.#report('created', { response });
    this.#report('in_progress', { response });
    if (!this.#parser) this.#openMessage();
  }

  add(text: string, logprobs: readonly TokenLogprob[]): void {
    const parser = this.#parser;
    append(
      this.#logprobs,
      logprobs.map((scored) => toChatLogprob(scored, this.#names)),
    );
    if (parser) this.#addParts(parser.push(text));
    else if (text !== '' || logprobs.length > 0) this.#addParts([{ type: 'content', text }]);
  }

  /** Ends the output. A completion without any item gets an empty message. */
  finish({ reason }: Ending): void {
    this.#isCutOff = reason === 'length';
    this.#addParts(this.#parser?.end() ?? []);
    if (this.#items.length === 0) this.#openMessage();
    const isWhole = this.#items.at(-1)?.type !== 'message' && !this.#parser?.isInCall;
    this.#close(this.#isCutOff && !isWhole ? 'incomplete' : 'completed');
  }

  /** Returns the whole response once it is stored. */
  async end(counts: TokenCounts): Promise<ApiResponse> {
    const isCutOff = this.#isCutOff;
    const response = this.#toResponse({
      status: isCutOff ? 'incomplete' : 'completed',
      completed_at: isCutOff ? null : toUnixSeconds(this.#options.now()),
      incomplete_details: isCutOff ? { reason: 'max_output_tokens' } : null,
      output: [...this.#items],
      usage: toResponseUsage(counts),
    });
    await this.#options.keep(response);
    this.#report(response.status, { response });
    return response;
  }

  fail(error: ServeError): void {
    this.#report('failed', { response: this.#toFailed(error) });
  }

  /** The response before its first token. */
  #toStarted(): ApiResponse {
    return this.#toResponse({ status: 'in_progress', output: [] });
  }

  /** The response after an error, with the output until then. */
  #toFailed({ status, message }: ServeError): ApiResponse {
    const last = this.#items.at(-1);
    if (last?.status === 'in_progress') last.status = 'incomplete';
    const code = status === 429 ? 'rate_limit_exceeded' : 'server_error';
    const output = [...this.#items];
    return this.#toResponse({ status: 'failed', error: { code, message }, output });
  }

  #toResponse(state: Pick<ApiResponse, 'status' | 'output'> & Partial<ApiResponse>): ApiResponse {
    const { id, created } = this.#head;
    return {
      id,
      object: 'response',
      created_at: created,
      completed_at: null,
      error: null,
      incomplete_details: null,
      usage: null,
      ...this.#options.settings,
      ...state,
    };
  }

  #addParts(parts: readonly CompletionPart[]): void {
    for (const part of parts) {
      if (part.type === 'content') this.#addText(part.text);
      else if (part.type === 'call') this.#openCall(part.id, part.name);
      else this.#addArguments(part.text);
    }
  }

  /** Adds to the open message, and opens one if none is open. */
  #addText(text: string): void {
    const item = this.#openMessage();
    const logprobs = this.#logprobs;
    this.#logprobs = [];
    item.content[0].text += text;
    append(item.content[0].logprobs, logprobs);
    this.#report('output_text.delta', {
      ...this.#positionOf(item),
      ...IN_TEXT,
      delta: text,
      logprobs,
    });
  }

  #addArguments(text: string): void {
    const item = this.#items.at(-1) as ResponseFunctionCall | ResponseCustomCall;
    if (item.type === 'custom_tool_call') {
      this.#arguments += text;
      return;
    }
    item.arguments += text;
    this.#report('function_call_arguments.delta', { ...this.#positionOf(item), delta: text });
  }

  #openMessage(): MessageItem {
    const last = this.#items.at(-1);
    if (last?.type === 'message') return last;
    const part: ResponseOutputText = {
      type: 'output_text',
      annotations: [],
      logprobs: [],
      text: '',
    };
    const item: MessageItem = {
      type: 'message',
      id: this.#nextId('msg'),
      status: 'in_progress',
      role: 'assistant',
      content: [part],
    };
    this.#open(item, { ...item, content: [] });
    this.#report('content_part.added', { ...this.#positionOf(item), ...IN_TEXT, part });
    return item;
  }

  #openCall(callId: string, name: string): void {
    this.#logprobs = [];
    const call = { call_id: callId, name, status: 'in_progress' as const };
    const tool = this.#options.settings.tools.find((given) => given.name === name);
    const item: ResponseFunctionCall | ResponseCustomCall =
      tool?.type === 'custom'
        ? { type: 'custom_tool_call', id: this.#nextId('ctc'), ...call, input: '' }
        : { type: 'function_call', id: this.#nextId('fc'), ...call, arguments: '' };
    this.#open(item, item);
  }

  /** @param shown the item as its event shows it */
  #open(item: MessageItem | ResponseFunctionCall | ResponseCustomCall, shown: object): void {
    this.#close('completed');
    this.#items.push(item);
    this.#report('output_item.added', { output_index: this.#items.length - 1, item: shown });
  }

  #close(status: 'completed' | 'incomplete'): void {
    const item = this.#items.at(-1);
    if (item?.status !== 'in_progress') return;
    item.status = status;
    const position = this.#positionOf(item);
    if (item.type === 'message') {
      const [part] = item.content;
      const { text, logprobs } = part;
      this.#report('output_text.done', { ...position, ...IN_TEXT, text, logprobs });
      this.#report('content_part.done', { ...position, ...IN_TEXT, part });
    } else if (item.type === 'function_call') {
      const { name, arguments: text } = item;
      this.#report('function_call_arguments.done', { ...position, name, arguments: text });
    } else {
      item.input = inputOf(this.#arguments);
      this.#arguments = '';
      this.#report('custom_tool_call_input.delta', { ...position, delta: item.input });
      this.#report('custom_tool_call_input.done', { ...position, input: item.input });
    }
    this.#report('output_item.done', { output_index: position.output_index, item });
  }

  /** The position of the last item, as events write it. */
  #positionOf({ id }: { id: string }) {
    return { item_id: id, output_index: this.#items.length - 1 };
  }

  #report(change: string, members: object): void {
    this.#onEvent(`response.${change}`, { sequence_number: this.#sequenceNumber++, ...members });
  }

  /** Returns the id of the next item. */
  #nextId(prefix: 'msg' | 'fc' | 'ctc'): string {
    const id = `${prefix}_${this.#head.id.slice(RESPONSE_PREFIX.length)}`;
    return this.#items.length === 0 ? id : `${id}_${this.#items.length}`;
  }
}

/** Returns the text for a custom tool, or none if its call was cut off. */
export function inputOf(text: string): string {
  try {
    return String(JSON.parse(text).input);
  } catch {
    return '';
  }
}

function toResponseUsage(counts: TokenCounts): ResponseUsage {
  const { promptTokens, completionTokens, cachedTokens } = counts;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}

/** The prefix of a response's id. */
export const RESPONSE_PREFIX = 'resp_';

const ITEM_ID = /^(?:msg|fc|ctc|in)_([0-9a-f]{32})(?:_\d{1,6})?$/;

/** Returns the id of an item in the response's input. */
export function inputIdOf(responseId: string, index: number): string {
  return `in_${responseId.slice(RESPONSE_PREFIX.length)}_${index}`;
}

/** Returns the id of an item's response, or undefined if the text is not an item id. */
export function responseIdOf(itemId: string): string | undefined {
  const part = ITEM_ID.exec(itemId)?.[1];
  return part === undefined ? undefined : `${RESPONSE_PREFIX}${part}`;
}
