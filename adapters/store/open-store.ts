// From a setting to a store. A bucket's client is loaded only where the store is a bucket: it costs a start its time.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { createFsStore } from './fs.ts';
import { createMemoryStore } from './memory.ts';
import type { ObjectStore } from './store.ts';

export interface StoreSettings {
  /** `memory:`, `s3://bucket/prefix` or a folder, which must be there; absent: `store` in `home`, made where it is not. */
  readonly store?: string | undefined;
  readonly home: string;
  readonly s3PathStyle: boolean;
  readonly s3Checksums: 'when_supported' | 'when_required';
}

/** Opens the store that the settings name. It asks nothing yet: the first call tells whether it is there. */
export async function openStore(settings: StoreSettings): Promise<ObjectStore> {
  const { store, home, s3PathStyle: isPathStyle, s3Checksums: checksums } = settings;
  if (store === 'memory:') return createMemoryStore();
  const place = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(store ?? '');
  if (place) {
    const { createS3Store } = await import('./s3.ts');
    return createS3Store({ bucket: place[1]!, prefix: place[2]! }, { isPathStyle, checksums });
  }
  if (store !== undefined) return createFsStore(store);
  const folder = path.join(home, 'store');
  await mkdir(folder, { recursive: true });
  return createFsStore(folder);
}
