// Publishes what the prefix cache holds, as vLLM does, for routers that send a prompt to the server that has computed its
// prefix, such as llm-d's precise prefix cache scorer.
import { encode } from '@msgpack/msgpack';
import { BLOCK_TOKENS, type PrefixEvent } from '../../contracts/engine.ts';
import { type PublisherAddress, ZmqPublisher } from './zmq-publisher.ts';

/** Routers weigh caches by their medium. vLLM gives the first one this name on CPUs too. */
const MEDIUM = 'GPU';

/** The number of the engine among those that share a server's work: there is one. */
const RANK = 0;

/** The topic of a server's events. */
interface KvEventsTopic {
  /** The server, as routers name it: usually its address and port. */
  readonly pod: string;
  /** The base's name in requests. */
  readonly model: string;
}

/** The events of one server. */
export class KvEvents {
  readonly #publisher: ZmqPublisher;
  readonly #topic: Buffer;
  readonly #nameOf: (adapter: string) => string;
  readonly #unixNow: () => number;
  /** The number of the next message. Subscribers see by a gap that they have missed one. */
  #sequence = 0n;

  private constructor(
    publisher: ZmqPublisher,
    { pod, model }: KvEventsTopic,
    options: KvEventsOptions,
  ) {
    this.#publisher = publisher;
    this.#topic = Buffer.from(`kv@${pod}@${model}`);
    this.#nameOf = options.nameOf;
    this.#unixNow = options.unixNow ?? Date.now;
  }

  /** Listens at the address. Rejects if it is taken. */
  static async listen(
    address: PublisherAddress,
    topic: KvEventsTopic,
    options: KvEventsOptions,
  ): Promise<KvEvents> {
    return new KvEvents(await ZmqPublisher.listen(address), topic, options);
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#publisher.port;
  }

  /** Publishes changes of the prefix cache as one message. */
  publish(events: readonly PrefixEvent[]): void {
    const sequence = Buffer.alloc(8);
    sequence.writeBigUInt64BE(this.#sequence++);
    const rows = events.map((event) => toRow(event, this.#nameOf));
    const batch = encode([this.#unixNow() / 1000, rows, RANK], { useBigInt64: true });
    this.#publisher.send(this.#topic, sequence, batch);
  }

  /** Disconnects all subscribers. */
  close(): Promise<void> {
    return this.#publisher.close();
  }
}

/** Names of adapters, and a clock. */
interface KvEventsOptions {
  /** Returns the name in requests of an adapter's digest. */
  readonly nameOf: (adapter: string) => string;
  /** Unix milliseconds. */
  readonly unixNow?: () => number;
}

/** Returns an event as vLLM's arrays. Their order is the format. */
function toRow(event: PrefixEvent, nameOf: (adapter: string) => string): unknown[] {
  switch (event.type) {
    case 'stored': {
      const { keys, parent, tokenIds, adapter } = event;
      const parentHash = parent === undefined ? null : toHash(parent);
      const loraName = adapter === undefined ? null : nameOf(adapter);
      const loraId = null; // the former name
      const blocks = [keys.map(toHash), parentHash, tokenIds, BLOCK_TOKENS];
      return ['BlockStored', ...blocks, loraId, MEDIUM, loraName];
    }
    case 'removed':
      return ['BlockRemoved', event.keys.map(toHash), MEDIUM];
    case 'cleared':
      return ['AllBlocksCleared'];
  }
}

/** Returns the last 64 bits of a key, a digest. Routers read hashes as integers, and a cache has far fewer than 2^32 blocks. */
function toHash(key: string): bigint {
  return Buffer.from(key, 'base64url').readBigUInt64BE(24);
}
