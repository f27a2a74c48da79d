// A stream of server-sent events: frames out, pings while it is quiet, and bounds for a reader that is slow or gone.
// Knows nothing about what the frames hold.

export interface EventStreamOptions {
  maxBufferedBytes: number;
  stalledReaderMs: number;
  pingMs: number;
  /** The reader caught up after `isFull` was true. */
  onDrain(): void;
  /** The reader is gone, or has taken nothing for too long: nobody reads any more. */
  onGone(): void;
  /** Cuts the connection under a reader that takes nothing. */
  disconnect(): void;
}

/** The content type of a stream's response. */
export const EVENT_STREAM = 'text/event-stream; charset=utf-8';

const PING = Buffer.from(': ping\n\n');

export class EventStream {
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

  /** Whether the reader is more than the buffer behind: whoever sends may gather instead. */
  get isFull(): boolean {
    return this.#isOpen && this.#controller.desiredSize! <= 0;
  }

  /** Sends one frame; `data` has no line break. After the end this does nothing. */
  send(data: string): void {
    this.#enqueue(Buffer.from(`data: ${data}\n\n`));
  }

  /** Ends the stream after what was sent. */
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
