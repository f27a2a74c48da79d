// A ZeroMQ SUB socket, as plain as its specification: it reads byte by byte, and knows one subscription.
import { connect, type Socket } from 'node:net';
import { decode } from '@msgpack/msgpack';

/** A message's topic, sequence number, and batch of events. */
interface KvMessage {
  readonly topic: string;
  readonly sequence: bigint;
  readonly batch: unknown;
}

/** ff, eight bytes of padding, 7f, version 3.1, NULL, no server, filler. */
const GREETING = `ff${'00'.repeat(8)}7f0301${'4e554c4c'}${'00'.repeat(48)}`;
/** A command of 25 bytes: READY, Socket-Type, SUB. */
const READY = '0419055245414459' + '0b536f636b65742d54797065' + '00000003535542';

const SUBSCRIBE = Buffer.from('\x09SUBSCRIBE', 'latin1');

interface Frame {
  readonly isMore: boolean;
  readonly body: Buffer;
}

interface SubscriberOptions {
  readonly port: number;
  readonly prefix: string;
  /** Whether the subscription is a command, as in 3.1, or a message, as in 3.0. */
  readonly asCommand: boolean;
}

export class TestSubscriber {
  readonly socket: Socket;
  #bytes = Buffer.alloc(0);
  #isGreeted = false;
  #wake = () => {};

  constructor({ port, prefix, asCommand }: SubscriberOptions) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake();
    });
    this.socket.on('close', () => this.#wake());
    const topic = Buffer.from(prefix);
    const body = Buffer.concat(asCommand ? [SUBSCRIBE, topic] : [Buffer.from([1]), topic]);
    const subscription = Buffer.concat([Buffer.from([asCommand ? 4 : 0, body.length]), body]);
    // In pieces that meet no border.
    const all = Buffer.concat([Buffer.from(GREETING + READY, 'hex'), subscription]);
    for (let start = 0; start < all.length; start += 7) {
      this.socket.write(all.subarray(start, start + 7));
    }
  }

  /** Sends a PING. Returns the messages before its PONG: everything that was sent earlier has been handled. */
  async roundTrip(): Promise<KvMessage[]> {
    if (!this.#isGreeted) await this.#handshake();
    const ping = '\x04PING\0\0context';
    this.socket.write(Buffer.from(`\x04${String.fromCharCode(ping.length)}${ping}`, 'latin1'));
    const messages: KvMessage[] = [];
    for (;;) {
      const frame = await this.#frame();
      if (frame.body.toString('latin1') === '\x04PONGcontext') return messages;
      messages.push(await this.#message(frame));
    }
  }

  async next(): Promise<KvMessage> {
    return this.#message(await this.#frame());
  }

  async #message(first: Frame): Promise<KvMessage> {
    const frames = [first];
    while (frames.at(-1)!.isMore) frames.push(await this.#frame());
    const [topic, sequence, batch] = frames.map(({ body }) => body);
    if (frames.length !== 3) throw new Error(`${frames.length} frames`);
    return {
      topic: topic!.toString(),
      sequence: sequence!.readBigUInt64BE(),
      batch: decode(batch!, { useBigInt64: true }),
    };
  }

  async #handshake(): Promise<void> {
    this.#isGreeted = true;
    const greeting = await this.#take(64);
    if (greeting.toString('hex') !== GREETING) throw new Error(greeting.toString('hex'));
    const ready = await this.#frame();
    const expected = `\x05READY\x0bSocket-Type\0\0\0\x03PUB`;
    if (ready.body.toString('latin1') !== expected) throw new Error(`${ready.body}`);
  }

  async #frame(): Promise<Frame> {
    const flags = (await this.#take(1))[0]!;
    const length = await this.#take(flags & 2 ? 8 : 1);
    return {
      isMore: (flags & 1) === 1,
      body: await this.#take(Number.parseInt(length.toString('hex'), 16)),
    };
  }

  async #take(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) {
      if (this.socket.closed) throw new Error('the connection is closed');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }
}
