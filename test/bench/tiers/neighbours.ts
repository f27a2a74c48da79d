// What streams of resident adapters notice of requests that come beside them: for the same adapters, for others in
// memory, and for ones that nobody has asked for yet. Everything else is alike: how many come, when, and of which ranks.
import { setTimeout as delay } from 'node:timers/promises';
import { seededRandom } from '../../fixtures.ts';
import { quantile } from './quantile.ts';
import type { Shelf, StoredAdapter } from './shelf.ts';
import { type Streamed, stream } from './stream.ts';

export const GUESTS = ['attached', 'ram', 'store'] as const;
/** Where the adapters of those beside are found. */
export type Guest = (typeof GUESTS)[number];
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
}

/** Of each resident stream. */
const TOKENS = 128;
/** On average; the times between two are drawn by Poisson's law, the same ones in each round. */
const GUESTS_PER_S = 4;
const GUEST_TOKENS = 8;

export async function measureNeighbours(shelf: Shelf, options: NeighbourOptions): Promise<Gaps> {
  const { rounds, residents, inMemory, cold } = options;
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
        const streams = await streamBeside(server.url, { residents, pick: pick[guest] });
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

interface Side {
  readonly residents: readonly StoredAdapter[];
  /** Undefined: there is none left, nobody comes. */
  pick(i: number): string | undefined;
}

async function streamBeside(url: string, { residents, pick }: Side): Promise<Streamed[]> {
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
    residents.map(({ name }, seed) => stream(url, { model: name, maxTokens: TOKENS, seed })),
  );
  over.abort();
  await arrivals;
  await Promise.all(guests);
  return streams;
}
