// The adapters that are in the store when a story begins. They are published once per process; each world gets a copy.

import path from 'node:path';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { writeAdapter } from './adapters.ts';
import { START_MS } from './clock.ts';
import { replaceNodeCalls } from './node-calls.ts';
import { BASE } from './server.ts';
import { bytesOf } from './store.ts';

/** Owner, name and content. */
const ADAPTERS = [
  ['a', 'x', 1],
  ['a', 'y', 2],
  ['b', 'x', 3],
  ['b', 'y', 5],
  ['c', 'x', 6],
  ['shared', 's', 4],
] as const;

const published = new Map<string, Uint8Array>();

/** Returns the objects of the store by key, in the order of their keys. Files are written below `root`. */
export async function publishedBefore(root: string): Promise<ReadonlyMap<string, Uint8Array>> {
  if (published.size > 0) return published;
  replaceNodeCalls(0); // the ids are the same in each process
  const store = createMemoryStore({ now: () => START_MS });
  const repository = createRepository(store, { now: () => START_MS });
  for (const [tenant, name, code] of ADAPTERS) {
    const directory = path.join(root, `published-${code}`);
    writeAdapter(directory, code);
    await repository.publish({ tenant, name }, { directory }, { baseDigest: BASE.digest });
  }
  for await (const { key } of store.list('')) {
    published.set(key, await bytesOf((await store.get(key))!.body));
  }
  return published;
}
