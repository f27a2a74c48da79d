// How long a 404 takes for a name that is another tenant's, and for one that nobody has: asked for the first time, when
// the store is read, and again. Somebody who measures shall not learn which names others use.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { timePost } from '../../api.ts';
import { createKey } from '../../e2e/program.ts';
import { quantile } from '../quantile.ts';
import type { Shelf, StoredAdapter } from './shelf.ts';

export interface Absences {
  /** Medians in ms. */
  readonly foreign: { readonly first: number; readonly again: number };
  readonly unknown: { readonly first: number; readonly again: number };
}

const TRIES = 200;

export async function measureAbsences(
  shelf: Shelf,
  adapters: readonly StoredAdapter[],
  scratch: string,
): Promise<Absences> {
  const keysHome = path.join(scratch, 'keys');
  mkdirSync(keysHome, { recursive: true });
  const [owner, stranger] = [
    (await createKey('local', keysHome)).key,
    (await createKey('other', keysHome)).key,
  ];
  const environment = { LORIKEET_KEYS: path.join(keysHome, 'keys.json') };
  const server = await shelf.serve({ slots: 8 }, { environment });
  try {
    const ask = (model: string, key: string) => {
      const body = { model, prompt: 'a', max_tokens: 1 };
      const headers = { authorization: `Bearer ${key}` };
      return timePost(`${server.url}/v1/completions`, body, { headers });
    };
    const absent = async (model: string) => {
      const { status, ms } = await ask(model, stranger);
      if (status !== 404) throw new Error(`${model}: ${status}`);
      return ms;
    };
    const names = adapters.map(({ name }) => name);
    for (const name of names.slice(0, 5)) await ask(name, owner); // warm for its owner
    const times = { foreign: { first: [], again: [] }, unknown: { first: [], again: [] } } as Times;
    for (let i = 0; i < TRIES; i++) {
      const foreign = names[i % names.length]!;
      const unknown = `${foreign}x`;
      const isFirst = i < names.length ? 'first' : 'again';
      // Each goes first every second time.
      const both = [
        ['foreign', foreign],
        ['unknown', unknown],
      ] as const;
      for (const [kind, name] of i % 2 ? both : both.toReversed()) {
        times[kind][isFirst].push(await absent(name));
        times[kind].again.push(await absent(name));
      }
    }
    return { foreign: mediansOf(times.foreign), unknown: mediansOf(times.unknown) };
  } finally {
    await server.stop();
  }
}

type Times = Record<'foreign' | 'unknown', { first: number[]; again: number[] }>;

function mediansOf({ first, again }: Times['foreign']) {
  return { first: quantile(first, 0.5), again: quantile(again, 0.5) };
}
