// A response object while it is written: its output so far, and the object in each of its states.
import type { ServeError } from '../../common/errors.ts';
import { type ChatLogprobs, toUnixSeconds, type WireFinishReason } from '../../contracts/openai.ts';
import type { ApiResponse, ResponseSettings, ResponseUsage } from '../../contracts/responses.ts';
import type { CallParser } from '../../tools/call-parser.ts';
import type { AnswerHead, TokenCounts, WireLogprobs } from './answer-plan.ts';
import { type OutputListener, ResponseOutput } from './response-output.ts';

/** How a request wants its response to be written and kept. */
export interface ResponseOptions {
  readonly settings: ResponseSettings;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** Stores the response before its client learns that it is complete. */
  keep(response: ApiResponse): Promise<void>;
}

/** The id of a request's response, and how its text is read. */
export interface DraftOptions extends ResponseOptions {
  readonly head: AnswerHead;
  /** Undefined if the completion is text only. */
  readonly parser: CallParser | undefined;
  readonly listener?: OutputListener;
}

/** Builds one response object. */
export class ResponseDraft {
  readonly #options: DraftOptions;
  readonly #output: ResponseOutput;
  #isCutOff = false;

  constructor(options: DraftOptions) {
    this.#options = options;
    this.#output = new ResponseOutput(options.head.id, options.listener);
  }

  /** Opens the message of a completion that is text only. */
  open(): void {
    if (!this.#options.parser) this.#output.openMessage();
  }

  /** Adds text of the completion. */
  add(text: string, logprobs: WireLogprobs | null): void {
    const { parser } = this.#options;
    const scores = (logprobs as ChatLogprobs | null)?.content ?? [];
    if (parser) this.#output.add(parser.push(text), scores);
    else if (text !== '' || scores.length > 0) {
      this.#output.add([{ type: 'content', text }], scores);
    }
  }

  /** Ends the output. */
  finish(reason: WireFinishReason): void {
    this.#isCutOff = reason === 'length';
    this.#output.add(this.#options.parser?.end() ?? [], []);
    this.#output.finish(reason);
  }

  /** The response before its first token. */
  toStarted(): ApiResponse {
    return this.#toResponse({ status: 'in_progress', output: [] });
  }

  /** Returns the whole response once it is stored. */
  async end(counts: TokenCounts): Promise<ApiResponse> {
    const isCutOff = this.#isCutOff;
    const response = this.#toResponse({
      status: isCutOff ? 'incomplete' : 'completed',
      completed_at: isCutOff ? null : toUnixSeconds(this.#options.now()),
      incomplete_details: isCutOff ? { reason: 'max_output_tokens' } : null,
      output: [...this.#output.items],
      usage: toResponseUsage(counts),
    });
    await this.#options.keep(response);
    return response;
  }

  /** The response after an error, with the output until then. */
  toFailed({ status, message }: ServeError): ApiResponse {
    this.#output.cutOff();
    const code = status === 429 ? 'rate_limit_exceeded' : 'server_error';
    const output = [...this.#output.items];
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
