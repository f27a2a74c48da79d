// A response while it is written: the text so far, and the object in each of its states.
import type { ServeError } from '../../common/errors.ts';
import type { ChatLogprobs, ChatTokenLogprob, WireFinishReason } from '../../contracts/openai.ts';
import type {
  ApiResponse,
  ResponseOutputMessage,
  ResponseOutputText,
  ResponseSettings,
  ResponseUsage,
} from '../../contracts/responses.ts';
import type { AnswerHead, TokenCounts, WireLogprobs } from '../answer-plan.ts';
import { toUnixSeconds } from '../api-objects.ts';
import { messageIdOf } from './item-ids.ts';

/** How a request wants its response. */
export interface ResponseOptions {
  readonly settings: ResponseSettings;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** Keeps the response before its client learns that it is complete. */
  keep(response: ApiResponse): Promise<void>;
}

/** A request's response, and its id. */
export interface DraftOptions extends ResponseOptions {
  readonly head: AnswerHead;
}

/** The statuses of a response that is over, by the reason for which its text ended. */
const STATUSES = { stop: 'completed', length: 'incomplete' } as const;

/** One response with one message. */
export class ResponseDraft {
  readonly messageId: string;
  readonly #options: DraftOptions;
  readonly #logprobs: ChatTokenLogprob[] = [];
  #text = '';
  #status: ResponseOutputMessage['status'] = 'in_progress';

  constructor(options: DraftOptions) {
    this.#options = options;
    this.messageId = messageIdOf(options.head.id);
  }

  /** Adds text. */
  add(text: string, logprobs: WireLogprobs | null): void {
    this.#text += text;
    this.#logprobs.push(...toTokenLogprobs(logprobs));
  }

  /** Ends the message. */
  finish(reason: WireFinishReason): void {
    this.#status = STATUSES[reason];
  }

  /** The message's text as a part of its content. */
  get part(): ResponseOutputText {
    const logprobs = this.#logprobs;
    return { type: 'output_text', annotations: [], logprobs, text: this.#text };
  }

  /** The message; its content is empty until it has text or is over. */
  get message(): ResponseOutputMessage {
    const isEmpty = this.#status === 'in_progress' && this.#text === '';
    const content = isEmpty ? [] : [this.part];
    return {
      type: 'message',
      id: this.messageId,
      status: this.#status,
      role: 'assistant',
      content,
    };
  }

  /** The response before its first token. */
  toStarted(): ApiResponse {
    return this.#toResponse({ status: 'in_progress', output: [] });
  }

  /** Returns the response with its whole text, once it is kept. */
  async end(counts: TokenCounts): Promise<ApiResponse> {
    const isIncomplete = this.#status === 'incomplete';
    const response = this.#toResponse({
      status: isIncomplete ? 'incomplete' : 'completed',
      completed_at: isIncomplete ? null : toUnixSeconds(this.#options.now()),
      incomplete_details: isIncomplete ? { reason: 'max_output_tokens' } : null,
      output: [this.message],
      usage: toResponseUsage(counts),
    });
    await this.#options.keep(response);
    return response;
  }

  /** The response after an error, with the text that came before it. */
  toFailed({ status, message }: ServeError): ApiResponse {
    if (this.#status === 'in_progress') this.#status = 'incomplete';
    const code = status === 429 ? 'rate_limit_exceeded' : 'server_error';
    const output = this.#text === '' ? [] : [this.message];
    return this.#toResponse({ status: 'failed', error: { code, message }, output });
  }

  #toResponse(state: Pick<ApiResponse, 'status' | 'output'> & Partial<ApiResponse>): ApiResponse {
    const { head, settings } = this.#options;
    return {
      id: head.id,
      object: 'response',
      created_at: head.created,
      completed_at: null,
      background: false,
      error: null,
      incomplete_details: null,
      usage: null,
      ...settings,
      ...state,
    };
  }
}

/** Returns the scores of tokens in the form of chat, which is that of responses. */
export function toTokenLogprobs(logprobs: WireLogprobs | null): ChatTokenLogprob[] {
  return (logprobs as ChatLogprobs | null)?.content ?? [];
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
