// Composes what stands between a store and the engine: the disk, memory where the disk fails, and the fetcher.
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Logger } from '../../src/common/log.ts';
import type { ObjectStore } from '../store/store.ts';
import { DiskTier } from './disk.ts';
import { Fetcher } from './fetcher.ts';
import { createLocalAdapters, type LocalAdapters } from './local-adapters.ts';

export interface OpenLocalAdaptersOptions {
  readonly store: ObjectStore;
  /** Versions are kept in its `adapters`; several processes may share it. */
  readonly cacheDir: string;
  readonly diskBytes: number;
  readonly log: Logger;
}

/** Linux's file system in memory; elsewhere a full disk means 503. */
const MEMORY_ROOT = '/dev/shm';
/** Some adapters of a small model, for as long as somebody needs to free the disk; containers have 64 MB there. */
const MEMORY_BYTES = 256 * 2 ** 20;

export function openLocalAdapters(options: OpenLocalAdaptersOptions): LocalAdapters {
  const { store, cacheDir, diskBytes, log } = options;
  const places = [
    new DiskTier({ root: path.join(cacheDir, 'adapters'), capacityBytes: diskBytes }),
  ];
  if (existsSync(MEMORY_ROOT)) {
    const root = path.join(MEMORY_ROOT, `lorikeet-${randomUUID()}`);
    places.push(new DiskTier({ root, capacityBytes: MEMORY_BYTES, isTemporary: true }));
  }
  return createLocalAdapters({ fetcher: new Fetcher({ store, log }), places, log });
}
