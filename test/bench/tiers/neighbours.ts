// What streams of resident adapters notice of requests that come beside them: for the same adapters, for others in
// memory, and for ones that nobody has asked for yet. Everything else is alike: how many come, when, and of which ranks.
import { setTimeout as delay } from 'node:timers/promises';
import { seededRandom } from '../../fixtures.ts';
import { quantile } from '../quantile.ts';
import type { Shelf, StoredAdapter } from './shelf.ts';
import { type Streamed, stream } from './stream.ts';

export const GUESTS = ['attached', 'ram', 'store'] as const;
/** Where the adapters of those beside are found. */
type Guest = (typeof GUESTS)[number];
/** p95 of the gaps between two tokens of the resident streams, in ms, one for each round. */
export type Gaps = Record<Guest, number[]>;

export interface NeighbourOptions {
  readonly rounds: number;
  /** One of each rank, all streaming all the time. */
  readonly residents: readonly StoredAdapter[];
  /** One of each rank. */
  readonly inMemory: readonly StoredAdapter[];
  /** On no disk; each is asked for once. */
  readonly cold: readonly StoredAdapter[];
  /** The length of a resident's stream. Default: 128. */
  readonly tokens?: number;
  /** Residents begin another stream until this time is over. Default: one stream each. */
  readonly lastsMs?: number;
}

const TOKENS = 128;
/** On average; the times between two are drawn by Poisson's law, the same ones in each round. */
const GUESTS_PER_S = 4;
const GUEST_TOKENS = 8;

export async function measureNeighbours(shelf: Shelf, options: NeighbourOptions): Promise<Gaps> {
  const { rounds, residents, inMemory, cold, tokens = TOKENS, lastsMs = 0 } = options;
  const gaps: Gaps = { attached: [], ram: [], store: [] };
  // Of a machine with two cores one is left to the store and to this process, which are elsewhere in earnest.
  const server = await shelf.serve({ slots: 8, 'adapter-slots': 8, threads: 1 });
  try {
    for (const { name } of [...residents, ...inMemory]) {
      await stream(server.url, { model: name, maxTokens: 2 });
    }
    const coldNames = cold.map(({ name }) => name);
    const cycle = (adapters: readonly StoredAdapter[]) => (i: number) =>
      adapters[i % adapters.length]!.name;
    const pick: Record<Guest, (i: number) => string | undefined> = {
      attached: cycle(residents),
      ram: cycle(inMemory),
      store: () => coldNames.shift(),
    };
    for (let round = 0; round < rounds; round++) {
      for (const guest of GUESTS) {
        const side = { residents, tokens, lastsMs, pick: pick[guest] };
        const streams = await streamBeside(server.url, side);
        gaps[guest].push(
          quantile(
            streams.flatMap(({ gapsMs }) => gapsMs),
            0.95,
          ),
        );
      }
    }
    return gaps;
  } finally {
    await server.stop();
  }
}

interface Side extends Required<Pick<NeighbourOptions, 'residents' | 'tokens' | 'lastsMs'>> {
  /** Undefined: there is none left, nobody comes. */
  pick(i: number): string | undefined;
}

async function streamBeside(url: string, side: Side): Promise<Streamed[]> {
  const { residents, pick } = side;
  const random = seededRandom(1);
  const over = new AbortController();
  const guests: Promise<Streamed>[] = [];
  const arrivals = (async () => {
    for (let i = 0; ; i++) {
      const waitMs = (-Math.log((random() + 1) / 2 || 1e-9) * 1000) / GUESTS_PER_S;
      await delay(waitMs, undefined, { signal: over.signal });
      const model = pick(i);
      if (model) guests.push(stream(url, { model, maxTokens: GUEST_TOKENS, seed: i }));
    }
  })().catch((error) => {
    if (!over.signal.aborted) throw error;
  });
  const streams = await Promise.all(
    residents.map((one, seed) => keepStreaming(url, one, seed, side)),
  );
  over.abort();
  await arrivals;
  await Promise.all(guests);
  return streams.flat();
}

async function keepStreaming(
  url: string,
  { name }: StoredAdapter,
  seed: number,
  { tokens, lastsMs }: Side,
): Promise<Streamed[]> {
  const endMs = performance.now() + lastsMs;
  const streams: Streamed[] = [];
  do {
    streams.push(await stream(url, { model: name, maxTokens: tokens, seed }));
  } while (performance.now() < endMs);
  return streams;
}
