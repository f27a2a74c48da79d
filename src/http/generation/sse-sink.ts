// Sends the choices of a generation as server-sent events, one per token. If the reader is slow, each choice's text is gathered
// and sent as one event when the reader has caught up. The endpoint's writer decides how the events look.
import type { ServeError } from '../../common/errors.ts';
import type { GenerationEvent } from '../../contracts/generation.ts';
import { EventStream, type EventStreamOptions } from '../wire/event-stream.ts';
import type {
  EventWriter,
  GenerationPlan,
  ResponseHead,
  TokenCounts,
  WireLogprobs,
} from './generation-plan.ts';
import type { LogprobWriter, TokenNames } from './logprobs.ts';

/** The part of a choice that has not been sent yet. */
interface Pending {
  text: string;
  /** Whether there is something to send. A model without a tokenizer sends a chunk without text for each token. */
  isDue: boolean;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  hasLogprobs: boolean;
  tokenIds: number[];
  /** How many tokens the choice has so far, sent or not. */
  tokens: number;
  /** How many tokens of its prompt came from the prefix cache. */
  cachedTokens: number;
}

/** How a streamed response is written. */
interface SseSinkOptions extends Omit<EventStreamOptions, 'onDrain'> {
  readonly head: ResponseHead;
  readonly names: TokenNames;
  /** Whether the model has no tokenizer, so that each token is sent as an event without text. */
  readonly isTextless: boolean;
}

/** Writes events to a response body. */
export class SseSink {
  /**
   * Resolves when the status is known to be 200: the engine has accepted the first choices and one of them runs. A client that
   * is still waiting when the server shuts down gets a status that makes it retry.
   */
  readonly opened: Promise<void>;
  readonly #stream: EventStream;
  readonly #plan: GenerationPlan;
  readonly #writer: EventWriter;
  readonly #pending: readonly Pending[];
  readonly #isTextless: boolean;
  #isStarted = false;
  #isAdmitted = false;
  #open = () => {};

  constructor(plan: GenerationPlan, { head, names, isTextless, ...options }: SseSinkOptions) {
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    this.#stream = new EventStream({ ...options, onDrain: () => this.#flushAll() });
    this.#plan = plan;
    this.#writer = plan.endpoint.createEvents(plan, head);
    this.#isTextless = isTextless;
    this.#pending = plan.choices.map(() => ({
      text: '',
      isDue: false,
      logprobs: plan.logprobs.isShown ? plan.endpoint.createLogprobs(names) : undefined,
      hasLogprobs: false,
      tokenIds: [],
      tokens: 0,
      cachedTokens: 0,
    }));
  }

  /** Whether `opened` has resolved: from now on, errors are sent in the stream. */
  get isOpen(): boolean {
    return this.#isStarted && this.#isAdmitted;
  }

  /** The body of the response. */
  get body(): ReadableStream<Uint8Array> {
    return this.#stream.body;
  }

  /** Sends an event's content, or keeps it if the reader is behind. Never waits. */
  write(event: GenerationEvent): void {
    switch (event.type) {
      case 'submitted':
      case 'embedding': // these are never in a stream
      case 'scores':
        return;
      case 'started':
        this.#isStarted = true;
        if (this.isOpen) this.#open();
        return;
      case 'admitted':
        this.#isAdmitted = true;
        this.#pending[event.index]!.cachedTokens = event.cachedTokens;
        if (this.isOpen) this.#open();
        return;
      case 'accepted':
        this.#writeOpening(event.index);
        return;
      default:
        this.#writePart(event);
    }
  }

  /** Ends a complete response. Rejects if the writer does. */
  async end(counts: TokenCounts): Promise<void> {
    this.#stream.send(await this.#writer.end(counts));
    this.#stream.close();
  }

  /** Ends the stream with an error, or silently if `error` is undefined. */
  fail(error: ServeError | undefined): void {
    this.#flushAll();
    if (error) this.#stream.send(this.#writer.fail(error));
    this.#stream.close();
  }

  #writeOpening(index: number): void {
    const { echo, request } = this.#plan.choices[index]!;
    this.#stream.send(this.#writer.opening(index));
    this.#add(index, echo);
    // A scored prompt is sent together with its scores.
    if (request.promptTopLogprobs === undefined) this.#flush(index);
  }

  #writePart(event: Extract<GenerationEvent, { type: 'prompt' | 'token' | 'finished' }>): void {
    const { index } = event;
    const pending = this.#pending[index]!;
    if (event.type === 'token') {
      pending.tokens++;
      if (event.logprob && pending.logprobs) {
        pending.logprobs.add(event.logprob);
        pending.hasLogprobs = true;
      }
      if (this.#plan.showsIds) pending.tokenIds.push(event.tokenId);
      if (this.#isTextless || this.#plan.showsIds) pending.isDue = true;
      this.#add(index, event.text);
      if (!this.#stream.isFull) this.#flush(index);
    } else if (event.type === 'prompt') {
      pending.logprobs?.addPrompt(this.#plan.choices[index]!.request.promptIds, event.logprobs);
      pending.hasLogprobs = pending.logprobs !== undefined;
      pending.isDue ||= pending.hasLogprobs;
      this.#flush(index);
    } else {
      this.#add(index, event.rest);
      pending.isDue ||= pending.hasLogprobs;
      this.#flush(index);
      this.#stream.send(this.#writer.finish(index, event, pending));
    }
  }

  #add(index: number, text: string): void {
    const pending = this.#pending[index]!;
    pending.text += text;
    if (text !== '') pending.isDue = true;
  }

  #flushAll(): void {
    for (const index of this.#pending.keys()) this.#flush(index);
  }

  #flush(index: number): void {
    const pending = this.#pending[index]!;
    if (!pending.isDue) return;
    const logprobs = pending.hasLogprobs ? pending.logprobs!.take() : null;
    const { text, tokenIds, tokens, cachedTokens } = pending;
    const part = { text, logprobs, tokenIds, tokens, cachedTokens };
    this.#stream.send(this.#writer.delta(index, part));
    pending.text = '';
    pending.tokenIds = [];
    pending.isDue = false;
    pending.hasLogprobs = false;
  }
}
