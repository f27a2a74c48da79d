// A ZeroMQ PUB socket over TCP: whoever connects and subscribes gets the messages from then on. It never waits for a
// subscriber; one that reads too slowly misses messages, and sees a gap in their numbers.
import { createServer, type Server, type Socket } from 'node:net';
import {
  checkGreeting,
  encodeCommand,
  encodeMessage,
  encodeProperty,
  type Frame,
  FrameReader,
  GREETING_BYTES,
  greeting,
  parseCommand,
} from './zmtp.ts';

/** Routers are few. */
const MAX_SUBSCRIBERS = 64;
/** A router subscribes to one beginning of topics, or to a few. */
const MAX_SUBSCRIPTIONS = 64;
/** How much waits in memory for a slow subscriber: the events of thousands of prompts. */
const MAX_QUEUED_BYTES = 8 * 2 ** 20;
/** The longest time from the connection to the end of its handshake. */
const HANDSHAKE_MS = 10_000;
/** TCP probes find subscribers that vanished silently. */
const PROBE_AFTER_MS = 10_000;

/** An address to listen on. */
export interface PublisherAddress {
  readonly host: string;
  /** With 0, the system chooses a port. */
  readonly port: number;
}

/** A PUB socket. */
export class ZmqPublisher {
  readonly #server: Server;
  readonly #subscribers = new Set<Subscriber>();

  private constructor() {
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_SUBSCRIBERS;
  }

  /** Listens at the address. Rejects if it is taken. */
  static async listen({ host, port }: PublisherAddress): Promise<ZmqPublisher> {
    const publisher = new ZmqPublisher();
    const server = publisher.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        resolve();
      });
    });
    return publisher;
  }

  /** The port that it listens on. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Sends a message to the subscribers of its topic, which is the first frame. */
  send(topic: Uint8Array, ...frames: Uint8Array[]): void {
    const listeners = [...this.#subscribers].filter((one) => one.isSubscribed(topic));
    if (listeners.length === 0) return;
    const message = encodeMessage([topic, ...frames]);
    for (const one of listeners) one.send(message);
  }

  /** Disconnects everyone. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const one of this.#subscribers) one.close();
    await closed;
  }

  #accept(socket: Socket): void {
    const subscriber = new Subscriber(socket);
    this.#subscribers.add(subscriber);
    socket.on('close', () => this.#subscribers.delete(subscriber));
  }
}

/** One connection. */
class Subscriber {
  readonly #socket: Socket;
  readonly #frames = new FrameReader();
  /** The peer's bytes until its greeting is complete. */
  #greeting: Buffer | undefined = Buffer.alloc(0);
  #isReady = false;
  #prefixes: Buffer[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    const handshake = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    socket.on('close', () => clearTimeout(handshake));
    socket.on('error', () => {}); // 'close' follows
    socket.on('data', (bytes: Buffer) => {
      try {
        this.#receive(bytes);
        if (this.#isReady) clearTimeout(handshake);
      } catch {
        socket.destroy(); // it does not speak the protocol
      }
    });
    socket.write(greeting());
  }

  isSubscribed(topic: Uint8Array): boolean {
    return this.#prefixes.some((prefix) => prefix.equals(topic.subarray(0, prefix.byteLength)));
  }

  /** Sends a whole message, or none of it. */
  send(message: Uint8Array): void {
    if (this.#socket.writableLength + message.byteLength <= MAX_QUEUED_BYTES) {
      this.#socket.write(message);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(bytes: Buffer): void {
    let rest = bytes;
    if (this.#greeting) {
      const start = Buffer.concat([this.#greeting, bytes]);
      this.#greeting = start;
      if (start.byteLength < GREETING_BYTES) return;
      this.#greeting = undefined;
      checkGreeting(start.subarray(0, GREETING_BYTES));
      this.#socket.write(encodeCommand('READY', encodeProperty('Socket-Type', 'PUB')));
      rest = start.subarray(GREETING_BYTES);
    }
    for (const frame of this.#frames.read(rest)) this.#handle(frame);
  }

  /** Subscriptions are commands since ZMTP 3.1, and messages before. */
  #handle({ isCommand, body }: Frame): void {
    if (!isCommand) {
      if (body[0] === 1) this.#subscribe(body.subarray(1));
      if (body[0] === 0) this.#cancel(body.subarray(1));
      return;
    }
    const command = parseCommand(body);
    if (command.name === 'READY') this.#isReady = true;
    if (command.name === 'SUBSCRIBE') this.#subscribe(command.body);
    if (command.name === 'CANCEL') this.#cancel(command.body);
    // The body begins with the time to live, two bytes; the rest is sent back.
    if (command.name === 'PING') {
      this.#socket.write(encodeCommand('PONG', command.body.subarray(2)));
    }
  }

  #subscribe(prefix: Buffer): void {
    if (this.#prefixes.length < MAX_SUBSCRIPTIONS) this.#prefixes.push(Buffer.from(prefix));
  }

  #cancel(prefix: Buffer): void {
    const index = this.#prefixes.findIndex((one) => one.equals(prefix));
    if (index >= 0) this.#prefixes.splice(index, 1);
  }
}
