// Reads regular files, with a size limit. Opening a pipe would wait for its writer, and reading a device may never end.

import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  type Stats,
} from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FileError } from './errors.ts';
import { formatFileSize } from './format-bytes.ts';

/** Has no effect on regular files, and does not exist on Windows. */
const NONBLOCK = constants.O_NONBLOCK ?? 0;

/** Limit for settings and metadata. The largest known file, the layout of a model with 126 layers, takes 300 KB. */
export const SMALL_FILE_BYTES = 4 * 2 ** 20;

/** A single read call returns at most 2^31-1 bytes. */
const MAX_READ_BYTES = 2 ** 30;

/** Hashing this much blocks the event loop for half a millisecond. */
const HASH_CHUNK_BYTES = 256 * 1024;

/** Opens a file for reading. The caller closes the descriptor. Throws `FileError` for a pipe, device or folder. */
export function openRegular(file: string): number {
  const fd = openSync(file, constants.O_RDONLY | NONBLOCK);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw notRegular(file);
}

/** Reads a whole file. Throws `FileError` if it is not a regular file or larger than `maxBytes`. */
export function readRegular(file: string, maxBytes: number): Buffer {
  const fd = openRegular(file);
  try {
    checkSize(file, fstatSync(fd), maxBytes);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Like `readRegular`, without blocking the event loop. */
export async function loadRegular(file: string, maxBytes: number): Promise<Buffer> {
  await using handle = await open(file, constants.O_RDONLY | NONBLOCK);
  const stats = await handle.stat();
  if (!stats.isFile()) throw notRegular(file);
  checkSize(file, stats, maxBytes);
  return await handle.readFile();
}

/** Like `loadRegular`, but returns undefined if the file does not exist. */
export async function loadIfPresent(file: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    return await loadRegular(file, maxBytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Reads exactly `byteLength` bytes at `position`. Throws `FileError` if the file ends earlier. */
export function readAt(fd: number, position: number, byteLength: number): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  for (let done = 0; done < byteLength; ) {
    const length = Math.min(byteLength - done, MAX_READ_BYTES);
    const count = readSync(fd, bytes, done, length, position + done);
    if (count === 0) throw new FileError('file', 'became shorter while it was being read');
    done += count;
  }
  return bytes;
}

/** Options of `hashFile`. */
export interface HashOptions {
  /** Limits the reading speed so that other work is not disturbed. Default: unlimited. */
  readonly bytesPerSecond?: number;
  /** Rejects with an `AbortError` once aborted. */
  readonly signal?: AbortSignal;
}

/** Computes the SHA-256 (hex) and the size of a file of any size. Rejects with `FileError` or an I/O error. */
export async function hashFile(
  file: string,
  { bytesPerSecond, signal }: HashOptions = {},
): Promise<{ sha256: string; byteSize: number }> {
  const hash = createHash('sha256');
  const start = performance.now();
  let byteSize = 0;
  closeSync(openRegular(file)); // throws for other files, which the stream would open
  for await (const chunk of createReadStream(file, { highWaterMark: HASH_CHUNK_BYTES, signal })) {
    hash.update(chunk);
    byteSize += chunk.length;
    if (bytesPerSecond === undefined) continue;
    const aheadMs = (byteSize / bytesPerSecond) * 1000 - (performance.now() - start);
    if (aheadMs > 1) await delay(aheadMs, undefined, { signal });
  }
  return { sha256: hash.digest('hex'), byteSize };
}

function notRegular(file: string): FileError {
  return new FileError(path.basename(file), 'is not a regular file');
}

function checkSize(file: string, { size }: Stats, maxBytes: number): void {
  if (size <= maxBytes) return;
  throw new FileError(
    path.basename(file),
    `has ${formatFileSize(size)}, which is more than the limit of ${formatFileSize(maxBytes)}`,
  );
}
