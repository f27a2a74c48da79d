// Opens the store in the settings. The S3 client slows down a start, so it is loaded only if needed.
import path from 'node:path';
import { makeFolder } from '../../src/common/folders.ts';
import { createFsStore } from './fs.ts';
import { createMemoryStore } from './memory.ts';
import type { ObjectStore } from './store.ts';

/** Which store to open. */
interface StoreSettings {
  /** `memory:`, `s3://bucket/prefix` or an existing folder. Default: `store` in `home`, which is created. */
  readonly store?: string | undefined;
  readonly home: string;
  readonly s3PathStyle: boolean;
  readonly s3Checksums: 'when_supported' | 'when_required';
}

/** Opens the store without sending anything: the first call shows whether it can be reached. */
export async function openStore(settings: StoreSettings): Promise<ObjectStore> {
  const { store, home, s3PathStyle: isPathStyle, s3Checksums: checksums } = settings;
  if (store === 'memory:') return createMemoryStore();
  const bucket = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(store ?? '');
  if (bucket) {
    const { createS3Store } = await import('./s3.ts');
    return createS3Store({ bucket: bucket[1]!, prefix: bucket[2]! }, { isPathStyle, checksums });
  }
  if (store !== undefined) return createFsStore(store);
  const folder = path.join(home, 'store');
  await makeFolder(folder);
  return createFsStore(folder);
}
