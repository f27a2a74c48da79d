// How many requests find their adapter in memory that has room for a few, beside a plain LRU of as many bytes over the
// same trace.
import { PlainLru, zipfTrace } from '../../adapters/traces.ts';
import type { Shelf, StoredAdapter } from './shelf.ts';
import { keepAsking } from './stream.ts';

export interface HitOptions {
  readonly requests: number;
  /** Adapters of mean size that there is room for. */
  readonly resident: number;
}

export interface Hits {
  /** Shares of the requests. */
  readonly ours: number;
  readonly lru: number;
  /** Answers that say that their adapter came from the store, and reads of weights there. */
  readonly fromStore: number;
  readonly fetches: number;
}

/** Two at a time: a request that finds its adapter being loaded is no hit, and there are few of them. */
const CLIENTS = 2;

export async function measureHits(
  shelf: Shelf,
  adapters: readonly StoredAdapter[],
  { requests, resident }: HitOptions,
): Promise<Hits> {
  const byteSizes = adapters.map(({ memoryBytes }) => memoryBytes);
  const totalBytes = byteSizes.reduce((sum, bytes) => sum + bytes, 0);
  const capacityBytes = Math.ceil((resident * totalBytes) / adapters.length);
  const trace = zipfTrace(adapters.length, { requests });
  const lru = new PlainLru(byteSizes, capacityBytes);
  const lruHits = trace.filter((index) => lru.access(index)).length;

  const counts = new Map<string | undefined, number>();
  const before = shelf.fetches();
  const server = await shelf.serve({
    ...{ slots: resident, 'adapter-slots': resident, 'adapter-cache': capacityBytes },
  });
  try {
    let asked = 0;
    await keepAsking(server.url, CLIENTS, {
      next() {
        const index = trace[asked++];
        return index === undefined
          ? undefined
          : { model: adapters[index]!.name, maxTokens: 4, seed: asked };
      },
      onAnswer: ({ tier }) => counts.set(tier, (counts.get(tier) ?? 0) + 1),
    });
  } finally {
    await server.stop();
  }
  const of = (tier: string) => counts.get(tier) ?? 0;
  return {
    ours: (of('slot') + of('ram')) / requests,
    lru: lruHits / requests,
    fromStore: of('store'),
    fetches: shelf.fetches() - before,
  };
}
