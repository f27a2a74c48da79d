// One stream of server-sent events, as the body of a response. A quiet stream gets pings. If a reader takes nothing,
// `connections.ts` closes its connection, which cancels the body.

/** The bounds of a stream, and the callbacks for them. */
export interface EventStreamOptions {
  maxBufferedBytes: number;
  pingMs: number;
  /** Called when the reader has caught up after `isFull` was true. */
  onDrain(): void;
  /** Called when the reader is gone. */
  onGone(): void;
}

/** The content type of a stream's response. */
export const EVENT_STREAM = 'text/event-stream; charset=utf-8';

/** Formats one event as a frame of the stream. `data` must not contain a line break. */
export function toFrame(data: string, name?: string): string {
  return name === undefined ? `data: ${data}\n\n` : `event: ${name}\ndata: ${data}\n\n`;
}

/** A comment, which clients ignore. */
export const PING = Buffer.from(': ping\n\n');

/** One stream, as the body of a response. */
export class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: EventStreamOptions;
  readonly #pings: NodeJS.Timeout;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #wasFull = false;
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

  /** Sends any number of events, formatted by `toFrame`. Does nothing after the end. */
  send(events: string): void {
    this.#enqueue(Buffer.from(events));
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
    this.#wasFull ||= this.isFull;
  }

  #onRead(): void {
    if (!this.#wasFull) return;
    this.#wasFull = false;
    this.#options.onDrain();
  }

  #onGone(): void {
    if (!this.#isOpen) return;
    this.#stop();
    this.#options.onGone();
  }

  #stop(): void {
    this.#isOpen = false;
    clearInterval(this.#pings);
  }
}
