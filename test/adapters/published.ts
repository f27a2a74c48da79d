// Published adapters for tests: a repository over a memory store that counts its reads and can be made to fail, and
// PEFT folders that differ in their content.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  StoreAdapters,
  type StoreRegistryOptions,
} from '../../adapters/registry/store-registry.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { temporaryFolder } from '../fixtures.ts';
import { configBytes, sampleTensors } from './sample.ts';
import { wrapStore } from './store/wrapped-store.ts';

export interface WatchedStore extends ObjectStore {
  /** Keys that were read, in order. */
  readonly reads: string[];
  /** Awaited before each read of an object or a list; may throw. */
  beforeRead: (key: string) => Promise<void> | void;
}

export function watchStore(inner: ObjectStore = createMemoryStore()): WatchedStore {
  const reads: string[] = [];
  const watched: WatchedStore = {
    ...wrapStore(inner),
    reads,
    beforeRead: () => {},
    async get(key, call) {
      reads.push(key);
      await watched.beforeRead(key);
      return inner.get(key, call);
    },
    async *list(prefix, options) {
      reads.push(prefix);
      await watched.beforeRead(prefix);
      yield* inner.list(prefix, options);
    },
  };
  return watched;
}

export function storeIsDown(): never {
  throw new StoreError('unavailable', 'the test says so');
}

export function createPublished(store: WatchedStore = watchStore()) {
  const repository = createRepository(store);
  let count = 0;
  return {
    store,
    repository,
    /** Another content each time; answers the new version's digest. */
    async publish(tenant: string, name: string, options = {}): Promise<string> {
      const directory = sampleFolder({ revision: `${++count}` });
      const manifest = await repository.publish({ tenant, name }, { directory }, options);
      return manifest.digest;
    },
  };
}

/** How often registries of tests look for changes. */
export const POLL_MS = 2000;

/** A server's registry over a store that counts what this server asks of it, with a clock that the test moves. */
export function openRegistry(inner: ObjectStore, options: Partial<StoreRegistryOptions> = {}) {
  const clock = { nowMs: 0 };
  const store = watchStore(inner);
  const { repository } = createPublished(store);
  const adapters = new StoreAdapters(repository, {
    pollMs: POLL_MS,
    clock: { ...systemClock, now: () => clock.nowMs, random: () => 0 },
    ...options,
  });
  return { adapters, repository, clock, store };
}

/** A PEFT folder for the sample model. */
export function sampleFolder(config: Record<string, unknown> = {}): string {
  const directory = temporaryFolder();
  writeFileSync(path.join(directory, 'adapter_config.json'), configBytes(config));
  const weights = serializeSafetensors(sampleTensors());
  writeFileSync(path.join(directory, 'adapter_model.safetensors'), weights);
  return directory;
}
