// Sends the choices of a generation as server-sent events, one chunk per token. If the reader is slow, the text of each
// choice is gathered and sent as one chunk when the reader has caught up. A quiet stream gets pings, and a reader that takes
// nothing counts as gone.
import type { Usage, WireFinishReason } from '../contracts/openai.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { AnswerHead, AnswerPlan, StreamPlan } from './answer-plan.ts';
import { type TokenCounts, toUsage, type WireLogprobs } from './endpoint.ts';
import type { GenerationEvent } from './generation.ts';
import { createTokenNames, type LogprobWriter } from './logprobs.ts';

/** The part of a choice that is not sent yet. */
interface Pending {
  text: string;
  /** Whether there is something to send. A model without a tokenizer sends a chunk for each token without text. */
  isDue: boolean;
  logprobs: LogprobWriter<WireLogprobs> | undefined;
  hasLogprobs: boolean;
  /** Tokens of the choice so far, sent or not. */
  tokens: number;
  /** Tokens of its prompt that came from the prefix cache. */
  cachedTokens: number;
}

/** The token counts of a choice. */
type ChoiceTokens = Pick<Pending, 'tokens' | 'cachedTokens'>;

/** How a streamed answer is written. */
export interface SseSinkOptions extends Omit<EventStreamOptions, 'onDrain'> {
  readonly head: AnswerHead;
  readonly usage: StreamPlan['usage'];
  readonly tokenizer: Tokenizer | undefined;
}

/** Writes events to a response body. */
export class SseSink {
  /**
   * Resolves when the status is known to be 200: the engine has accepted the first choices and one of them runs. A
   * client that still waits when the server shuts down gets a status on which clients retry.
   */
  readonly opened: Promise<void>;
  readonly #stream: EventStream;
  readonly #plan: AnswerPlan;
  readonly #chunks: ChunkWriter;
  readonly #usage: StreamPlan['usage'];
  readonly #pending: readonly Pending[];
  readonly #isTextless: boolean;
  #isStarted = false;
  #isAdmitted = false;
  #open = () => {};

  constructor(plan: AnswerPlan, { head, usage, tokenizer, ...options }: SseSinkOptions) {
    const names = createTokenNames(tokenizer, plan.logprobs);
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    this.#stream = new EventStream({ ...options, onDrain: () => this.#flushAll() });
    this.#plan = plan;
    this.#chunks = createChunkWriter(plan, head, usage);
    this.#usage = usage;
    this.#isTextless = tokenizer === undefined;
    this.#pending = plan.choices.map(() => ({
      text: '',
      isDue: false,
      logprobs: plan.logprobs.isShown ? plan.endpoint.createLogprobs(names) : undefined,
      hasLogprobs: false,
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

  /** Sends what the event brings, or keeps it if the reader is behind. Never waits. */
  write(event: GenerationEvent): void {
    switch (event.type) {
      case 'submitted':
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

  /** Ends a complete answer. */
  end(counts: TokenCounts): void {
    if (this.#usage !== 'none') this.#stream.send(this.#chunks.usage(toUsage(counts)));
    this.#stream.send('[DONE]');
    this.#stream.close();
  }

  /** Ends the stream with an error, or silently if `error` is undefined. */
  fail(error: object | undefined): void {
    this.#flushAll();
    if (error) this.#stream.send(JSON.stringify(error));
    this.#stream.close();
  }

  #writeOpening(index: number): void {
    const { echo, request } = this.#plan.choices[index]!;
    const opening = this.#chunks.opening(index);
    if (opening !== undefined) this.#stream.send(opening);
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
      if (this.#isTextless) pending.isDue = true;
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
      this.#stream.send(this.#chunks.finish(index, event.reason, pending));
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
    const { text, tokens, cachedTokens } = pending;
    this.#stream.send(this.#chunks.delta(index, { text, logprobs, tokens, cachedTokens }));
    pending.text = '';
    pending.isDue = false;
    pending.hasLogprobs = false;
  }
}

/** Writes chunks as JSON. The constant parts are written once, so a token costs one `JSON.stringify` of its text. */
interface ChunkWriter {
  /** The chunk that opens a choice; undefined if the endpoint has none. */
  opening(index: number): string | undefined;
  /** The counts are those of this choice so far. */
  delta(
    index: number,
    part: { text: string; logprobs: WireLogprobs | null } & ChoiceTokens,
  ): string;
  finish(index: number, reason: WireFinishReason, counts: ChoiceTokens): string;
  usage(usage: Usage): string;
}

const NO_TOKENS: ChoiceTokens = { tokens: 0, cachedTokens: 0 };

function createChunkWriter(
  { endpoint, choices }: AnswerPlan,
  { id, ...head }: AnswerHead,
  usage: StreamPlan['usage'],
): ChunkWriter {
  const members = JSON.stringify({ id, object: endpoint.chunkObject, ...head }).slice(0, -1);
  const before = `${members},"choices":[{"index":`;
  const after = (index: number, { tokens: completionTokens, cachedTokens }: ChoiceTokens) => {
    if (usage === 'none') return '}]}';
    if (usage === 'last') return '}],"usage":null}';
    const promptTokens = choices[index]!.request.promptIds.length;
    const counts = { promptTokens, completionTokens, cachedTokens };
    return `}],"usage":${JSON.stringify(toUsage(counts))}}`;
  };
  const unfinished = ',"logprobs":null,"finish_reason":null';
  const [open, close] = endpoint.delta;
  return {
    opening: (index) =>
      endpoint.opening &&
      `${before}${index},${endpoint.opening}${unfinished}${after(index, NO_TOKENS)}`,
    delta(index, { text, logprobs, ...counts }) {
      const start = `${before}${index},${open}${JSON.stringify(text)}${close}`;
      if (!logprobs) return `${start}${unfinished}${after(index, counts)}`;
      return `${start},"logprobs":${JSON.stringify(logprobs)},"finish_reason":null${after(index, counts)}`;
    },
    finish: (index, reason, counts) =>
      `${before}${index},${endpoint.emptyDelta},"logprobs":null,"finish_reason":"${reason}"${after(index, counts)}`,
    usage: (usage) => `${members},"choices":[],"usage":${JSON.stringify(usage)}}`,
  };
}

/** The bounds of a stream, and what happens at them. */
interface EventStreamOptions {
  maxBufferedBytes: number;
  stalledReaderMs: number;
  pingMs: number;
  /** The reader has caught up after `isFull` was true. */
  onDrain(): void;
  /** The reader is gone, or has taken nothing for too long. */
  onGone(): void;
  /** Cuts the connection of a reader that takes nothing. */
  disconnect(): void;
}

/** The content type of a stream's response. */
export const EVENT_STREAM = 'text/event-stream; charset=utf-8';

const PING = Buffer.from(': ping\n\n');

/** One stream, as the body of a response. */
class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: EventStreamOptions;
  readonly #pings: NodeJS.Timeout;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #stalled: NodeJS.Timeout | undefined;
  #isOpen = true;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#onRead(),
        cancel: () => this.#onGone(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: options.maxBufferedBytes }),
    );
    this.#pings = setInterval(() => {
      if (!this.isFull) this.#enqueue(PING);
    }, options.pingMs);
  }

  /** Whether the buffer is full. The sender can then gather text instead of sending it. */
  get isFull(): boolean {
    return this.#isOpen && this.#controller.desiredSize! <= 0;
  }

  /** Sends one event; `data` must have no line break. Does nothing after the end. */
  send(data: string): void {
    this.#enqueue(Buffer.from(`data: ${data}\n\n`));
  }

  /** Ends the stream after everything that was sent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#stop();
    this.#controller.close();
  }

  #enqueue(bytes: Uint8Array): void {
    if (!this.#isOpen) return;
    this.#controller.enqueue(bytes);
    if (this.isFull)
      this.#stalled ??= setTimeout(() => this.#onStalled(), this.#options.stalledReaderMs);
  }

  #onRead(): void {
    if (this.#stalled === undefined) return;
    clearTimeout(this.#stalled);
    this.#stalled = undefined;
    this.#options.onDrain();
  }

  #onGone(): void {
    if (!this.#isOpen) return;
    this.#stop();
    this.#options.onGone();
  }

  #onStalled(): void {
    this.#onGone();
    this.#options.disconnect();
  }

  #stop(): void {
    this.#isOpen = false;
    clearInterval(this.#pings);
    clearTimeout(this.#stalled);
  }
}
