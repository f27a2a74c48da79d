// A failure of the local disk as a `StoreError`, and the local files that are put. It knows no driver.
import { readFile } from 'node:fs/promises';
import { AssertionError } from '../../src/common/assert.ts';
import { type PutSource, StoreError, type StoreErrorKind } from './store.ts';

/** Any other code may pass: a full or failing disk, too many open files. */
const KIND_OF_CODE: Readonly<Record<string, StoreErrorKind>> = {
  ENOENT: 'invalid',
  ENOTDIR: 'invalid',
  EISDIR: 'invalid',
  EEXIST: 'invalid',
  ENAMETOOLONG: 'invalid',
  ELOOP: 'invalid',
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'denied',
};

/** Runs work on the disk: it rejects with a `StoreError`, the signal's reason or an assertion. */
export async function onDisk<T>(
  what: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof StoreError || cause instanceof AssertionError) throw cause;
    signal?.throwIfAborted();
    const code = codeOf(cause);
    const kind = KIND_OF_CODE[code] ?? 'unavailable';
    throw new StoreError(kind, `${what}: ${code}`, { cause });
  }
}

export function readSource(source: PutSource, signal?: AbortSignal): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return Promise.resolve(source);
  return onDisk(source.file, signal, () => readFile(source.file, { signal }));
}

/** `ENOENT` and the like. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
