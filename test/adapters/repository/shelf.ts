// Adapters to publish, and a store whose n-th call goes wrong, for the tests of the repository.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import {
  type AdapterRepository,
  createRepository,
  type RepositoryOptions,
} from '../../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../../adapters/store/memory.ts';
import { type ObjectStore, StoreError } from '../../../adapters/store/store.ts';
import { serializeSafetensors } from '../../../src/formats/safetensors.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { configBytes, sampleTensors } from '../sample.ts';
import { type Around, listKeys, wrapStore } from '../store/wrapped-store.ts';

export const ZEN = { tenant: 'acme', name: 'zen' };

/** The origin of an adapter that was trained. */
export const ORIGIN = {
  program: 'lorikeet 0.1.0',
  data: { sha256: 'd'.repeat(64), byteSize: 1200 },
  validation: { sha256: 'e'.repeat(64), byteSize: 300 },
  init_adapter: 'f'.repeat(64),
};

/** Writes the origin beside an adapter's files, as the trainer does. */
export function writeOrigin(directory: string, origin: unknown = ORIGIN): string {
  writeFileSync(path.join(directory, 'training_origin.json'), JSON.stringify(origin));
  return directory;
}

/** Writes a PEFT folder whose weights are told by `seed`. */
export function writeAdapter(root: string, seed: number): string {
  const directory = path.join(root, `adapter-${seed}`);
  mkdirSync(directory, { recursive: true });
  const { config, weights } = adapterFiles(seed);
  writeFileSync(path.join(directory, 'adapter_config.json'), config);
  writeFileSync(path.join(directory, 'adapter_model.safetensors'), weights);
  return directory;
}

export function adapterFiles(seed: number): { config: Uint8Array; weights: Uint8Array } {
  const tensors = sampleTensors({ value: (i) => ((i + seed) % 13) / 16 + seed / 1024 });
  return { config: configBytes(), weights: serializeSafetensors(tensors) };
}

/** A repository over a store in memory, and folders to publish from. */
export function shelf(t: TestContext, options: RepositoryOptions = {}) {
  const root = temporaryFolder(t);
  const store = createMemoryStore();
  const open = (over: ObjectStore = store): AdapterRepository => createRepository(over, options);
  return { store, open, repository: open(), adapter: (seed: number) => writeAdapter(root, seed) };
}

/** What becomes of a call: done or not, and what its caller learns. */
export type Fault = { readonly isDone: boolean; readonly error: StoreError };

export const FAULTS = {
  'fails before it is done': {
    isDone: false,
    error: new StoreError('unavailable', 'reset before it was sent'),
  },
  'is done and then fails': {
    isDone: true,
    error: new StoreError('unavailable', 'time was up'),
  },
  'is refused, as somebody else writes (409)': {
    isDone: false,
    error: new StoreError('conflict', 'ConditionalRequestConflict'),
  },
  'is done, and tried again by the client (412)': {
    isDone: true,
    error: new StoreError('conflict', 'PreconditionFailed'),
  },
} as const satisfies Record<string, Fault>;

export interface CountedStore extends ObjectStore {
  /** So far. */
  readonly calls: readonly string[];
}

/** Counts calls, and asks `faultOf` about each one; `n` counts from 1. */
export function countedStore(
  store: ObjectStore,
  faultOf: (n: number, call: string) => Fault | undefined = () => undefined,
): CountedStore {
  const calls: string[] = [];
  const around: Around = async (work, call) => {
    calls.push(call);
    const fault = faultOf(calls.length, call);
    if (!fault) return work();
    if (fault.isDone) await work();
    throw fault.error;
  };
  return { calls, ...wrapStore(store, around) };
}

/** Before the n-th call, somebody else does all of `work`. */
export function meetingStore(
  store: ObjectStore,
  n: number,
  work: () => Promise<void>,
): ObjectStore {
  let calls = 0;
  return wrapStore(store, async (call) => {
    if (++calls === n) await work();
    return call();
  });
}

/** All keys but the ones of announcements, which go by themselves. */
export async function keysOf(store: ObjectStore): Promise<string[]> {
  return (await listKeys(store)).filter((key) => !key.startsWith('.changes/'));
}
