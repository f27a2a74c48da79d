// Tokenizes long texts and renders long conversations in a separate process, because both would block the event loop: 32,000
// characters take up to 100 ms. The process loads the model's tokenizer and template from its folder.
import { type PlainError, ServeError } from '../common/errors.ts';
import { programUrl } from '../common/fork-program.ts';
import { JobProcess } from '../common/job-process.ts';
import type { Caller } from '../common/turn-queue.ts';
import type { AddedTokens } from '../contracts/added-tokens.ts';
import type { ToolFormatName } from '../contracts/tool-format.ts';
import type { RenderOptions } from '../tokenizer/chat-template.ts';
import type { ChatMessage } from '../tokenizer/template-values.ts';

/** The files and settings that a prompt's tokens depend on. */
export interface PromptModel {
  /** The folder of tokenizer and template. */
  readonly directory: string;
  /** Replaces the tool format of the template. */
  readonly toolFormat?: ToolFormatName | undefined;
  /** The tokens of an adapter. */
  readonly added?: AddedTokens | undefined;
}

/** A text, or a conversation. */
export type PromptJob = PromptModel &
  (
    | { readonly text: string; readonly affixes: boolean }
    | { readonly messages: readonly ChatMessage[]; readonly options: RenderOptions }
  );

/** Token ids, or why there are none. The ids are a typed array, which crosses the channel much faster. */
export type PromptResult = { readonly ids: Uint32Array } | { readonly error: PlainError };

const WORKER = programUrl('./prompt-worker', import.meta.url);

const LIMITS = {
  /** The largest body takes 2 s, and loading a tokenizer of 256,000 tokens takes 1 s. */
  deadlineMs: 20_000,
  maxHeapMb: 1024,
  /** A remembered prompt would be answered faster, even for another tenant. */
  maxRemembered: 0,
};
const LIMIT_FAULTS = {
  time: 'The prompt takes too long to tokenize. Send a shorter one.',
  memory: 'The prompt needs too much memory to tokenize. Send a shorter one.',
};

/** Encodes long prompts of one model. Its process starts with the first prompt and ends when idle. */
export class LongPrompts {
  readonly #model: PromptModel;
  readonly #process: JobProcess<PromptResult>;
  readonly #caller: Caller | undefined;

  constructor(
    model: PromptModel,
    process = new JobProcess<PromptResult>('long prompts', WORKER, LIMITS),
    caller?: Caller,
  ) {
    this.#model = model;
    this.#process = process;
    this.#caller = caller;
  }

  /** Returns the encoder for an adapter's tokenizer. It shares the process. */
  extended(added: AddedTokens): LongPrompts {
    return new LongPrompts({ ...this.#model, added }, this.#process);
  }

  /** Returns the encoder on behalf of a caller. It shares the process. */
  calledBy(caller: Caller): LongPrompts {
    return new LongPrompts(this.#model, this.#process, caller);
  }

  /** Returns the token ids of a text without control tokens. Rejects with `ServeError`. */
  encode(text: string, { affixes }: { affixes: boolean }): Promise<number[]> {
    return this.#run({ ...this.#model, text, affixes });
  }

  /** Returns the token ids of a conversation. Rejects with the `ServeError` of `ChatTemplate.render`. */
  render(messages: readonly ChatMessage[], options: RenderOptions): Promise<number[]> {
    return this.#run({ ...this.#model, messages, options });
  }

  async #run(job: PromptJob): Promise<number[]> {
    const caller = this.#caller;
    const outcome = await this.#process.run(JSON.stringify(job), caller).catch((cause: unknown) => {
      if (cause instanceof ServeError || caller?.signal?.aborted) throw cause;
      throw new ServeError(
        'overloaded',
        'Long prompts cannot be tokenized now. Try again in a moment, or send a shorter one.',
        { cause },
      );
    });
    if ('limit' in outcome) throw new ServeError('invalid_request', LIMIT_FAULTS[outcome.limit]);
    const { result } = outcome;
    if ('error' in result) throw ServeError.fromPlain(result.error);
    return Array.from(result.ids);
  }
}
