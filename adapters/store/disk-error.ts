// Failures of the local disk as `StoreError`. Knows no driver.
import { readFile } from 'node:fs/promises';
import { AssertionError } from '../../src/common/assert.ts';
import { type PutSource, StoreError, type StoreErrorKind } from './store.ts';

/** Other codes (a full or failing disk, too many open files) are `unavailable`. */
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

/** Runs work on the disk. Rejects with `StoreError`, the signal's reason or an assertion. */
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
    const code = errorCode(cause);
    const kind = KIND_OF_CODE[code] ?? 'unavailable';
    throw new StoreError(kind, `${what}: ${code}`, { cause });
  }
}

/** Reads the bytes to put. */
export function readSource(source: PutSource, signal?: AbortSignal): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return Promise.resolve(source);
  return onDisk(source.file, signal, () => readFile(source.file, { signal }));
}

/** Returns an error's code, such as `ENOENT`. */
export function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
