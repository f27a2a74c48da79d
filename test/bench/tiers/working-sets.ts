// Tokens per second while more and more adapters are asked for, each as often as the others: past the slots, past
// memory, past the disk.
import { seededRandom } from '../../fixtures.ts';
import type { Shelf, StoredAdapter } from './shelf.ts';
import { keepAsking } from './stream.ts';

export interface WorkingSetOptions {
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
}

/** How many adapters there is room for. */
export const ROOM = { slot: 8, ram: 24, disk: 96 };

export interface WorkingSet {
  readonly adapters: number;
  /** One for each round. */
  readonly tokensPerS: number[];
}

const SIZES = [1, 4, 8, 16, 24, 48, 96, 144, 200];
const CLIENTS = 16;
const TOKENS = 32;
/** Of a measurement's time, beforehand: what fits is where it belongs then. */
const WARM_UP = 0.4;

export async function measureWorkingSets(
  shelf: Shelf,
  adapters: readonly StoredAdapter[],
  { rounds, seconds }: WorkingSetOptions,
): Promise<WorkingSet[]> {
  const meanOf = (bytesOf: (adapter: StoredAdapter) => number) =>
    adapters.reduce((sum, one) => sum + bytesOf(one), 0) / adapters.length;
  const server = await shelf.serve({
    slots: CLIENTS,
    'adapter-slots': ROOM.slot,
    'adapter-cache': Math.ceil(ROOM.ram * meanOf(({ memoryBytes }) => memoryBytes)),
    'adapter-disk': Math.ceil(ROOM.disk * meanOf(({ fileBytes }) => fileBytes)),
  });
  const sizes = SIZES.filter((size) => size <= adapters.length);
  const results = sizes.map((size): WorkingSet => ({ adapters: size, tokensPerS: [] }));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const { adapters: size, tokensPerS } of results) {
        const set = adapters.slice(0, size).map(({ name }) => name);
        const random = seededRandom(round * 1000 + size);
        await rate(server.url, { set, random, seconds: seconds * WARM_UP });
        tokensPerS.push(await rate(server.url, { set, random, seconds }));
      }
    }
  } finally {
    await server.stop();
  }
  return results;
}

interface Load {
  readonly set: readonly string[];
  /** In [-1, 1). */
  random(): number;
  readonly seconds: number;
}

/** Of the requests that began in this time, until the last has ended. */
async function rate(url: string, { set, random, seconds }: Load): Promise<number> {
  const startedMs = performance.now();
  let answers = 0;
  await keepAsking(url, CLIENTS, {
    next() {
      if (performance.now() - startedMs > seconds * 1000) return undefined;
      const model = set[Math.floor(((random() + 1) / 2) * set.length)]!;
      return { model, maxTokens: TOKENS, seed: answers };
    },
    onAnswer: () => void answers++,
  });
  return (answers * TOKENS * 1000) / (performance.now() - startedMs);
}
