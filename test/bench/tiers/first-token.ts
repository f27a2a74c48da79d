// Time to the first token by where the adapter was found, each adapter in all places, the places taking turns.
import type { Shelf, StoredAdapter } from './shelf.ts';
import { stream } from './stream.ts';

export const TIERS = ['slot', 'ram', 'disk', 'store'] as const;
type Tier = (typeof TIERS)[number];
export type FirstTokens = Record<Tier, number[]>;

/** @param probes of one size, on no disk yet */
export async function measureFirstTokens(
  shelf: Shelf,
  probes: readonly StoredAdapter[],
): Promise<FirstTokens> {
  const firstTokens: FirstTokens = { slot: [], ram: [], disk: [], store: [] };
  // The first server finds them in the store; the second on the disk.
  for (const coldTier of ['store', 'disk'] as const) {
    const server = await shelf.serve({ slots: 8 });
    const ask = async (model: string, seed: number, tier?: Tier) => {
      const streamed = await stream(server.url, { model, maxTokens: 2, seed });
      if (!tier) return;
      if (streamed.tier !== tier) throw new Error(`${model}: ${streamed.tier}, not ${tier}`);
      firstTokens[tier].push(streamed.firstTokenMs);
    };
    try {
      const [warmUp, ...measured] = probes.map(({ name }) => name);
      for (let i = 0; i < 5; i++) await ask(warmUp!, i);
      for (const [seed, name] of measured.entries()) {
        // Its name is known, as every name in use is: two reads of the store that no tier is to blame for.
        await fetch(`${server.url}/v1/models/${name}`).then((response) => response.text());
        await ask(name, seed, coldTier);
        await ask(name, seed + 1, 'slot');
        await ask(warmUp!, seed); // a step without it: it leaves its slot
        await ask(name, seed + 2, 'ram');
        await ask(name, seed + 3, 'slot');
      }
    } finally {
      await server.stop();
    }
  }
  return firstTokens;
}
