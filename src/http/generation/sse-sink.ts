// Sends the choices of a generation as server-sent events, one per token. If the reader is slow, each choice's text is gathered
// and sent as one event when the reader has caught up. The plan's writer decides how the events look.
import type { ServeError } from '../../common/errors.ts';
import type { GenerationEvent, TokenLogprob } from '../../contracts/generation.ts';
import { EventStream, type EventStreamOptions } from '../wire/event-stream.ts';
import type {
  EventWriter,
  GenerationPlan,
  ResponseHead,
  StreamPart,
  TokenCounts,
} from './generation-plan.ts';

/** The part of a choice that has not been sent yet. */
interface Pending extends StreamPart {
  text: string;
  /** Whether there is something to send. A model without a tokenizer sends a chunk without text for each token. */
  isDue: boolean;
  logprobs: TokenLogprob[];
  promptLogprobs: readonly TokenLogprob[] | undefined;
  tokenIds: number[];
  tokens: number;
  cachedTokens: number;
}

/** How a streamed response is sent. */
interface SseSinkOptions extends Omit<EventStreamOptions, 'onDrain'> {
  readonly head: ResponseHead;
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
  /** Whether the model has no tokenizer, so that each token is sent as an event without text. */
  readonly #isTextless: boolean;
  #isStarted = false;
  #isAdmitted = false;
  #open = () => {};

  constructor(plan: GenerationPlan, { head, ...options }: SseSinkOptions) {
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    this.#stream = new EventStream({ ...options, onDrain: () => this.#flushAll() });
    this.#plan = plan;
    this.#writer = plan.writer.createEvents(plan, head, (events) => this.#stream.send(events));
    this.#isTextless = plan.model.tokenizer === undefined;
    this.#pending = plan.choices.map(() => ({
      text: '',
      isDue: false,
      logprobs: [],
      promptLogprobs: undefined,
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
    await this.#writer.end(counts);
    this.#stream.close();
  }

  /** Ends the stream with an error, or silently if `error` is undefined. */
  fail(error: ServeError | undefined): void {
    this.#flushAll();
    if (error) this.#writer.fail(error);
    this.#stream.close();
  }

  #writeOpening(index: number): void {
    const { echo, request } = this.#plan.choices[index]!;
    this.#writer.open(index);
    this.#add(index, echo);
    // A scored prompt is sent together with its scores.
    if (request.promptTopLogprobs === undefined) this.#flush(index);
  }

  #writePart(event: Extract<GenerationEvent, { type: 'prompt' | 'token' | 'finished' }>): void {
    const { index } = event;
    const pending = this.#pending[index]!;
    if (event.type === 'token') {
      pending.tokens++;
      if (event.logprob) pending.logprobs.push(event.logprob);
      if (this.#plan.showsIds) pending.tokenIds.push(event.tokenId);
      if (this.#isTextless || this.#plan.showsIds) pending.isDue = true;
      this.#add(index, event.text);
      if (!this.#stream.isFull) this.#flush(index);
    } else if (event.type === 'prompt') {
      pending.promptLogprobs = event.logprobs;
      pending.isDue = true;
      this.#flush(index);
    } else {
      this.#add(index, event.rest);
      pending.isDue ||= pending.logprobs.length > 0;
      this.#flush(index);
      this.#writer.finish(index, event, pending);
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
    this.#writer.add(index, pending);
    pending.text = '';
    pending.tokenIds = [];
    pending.logprobs = [];
    pending.promptLogprobs = undefined;
    pending.isDue = false;
  }
}
