// The SHA-256 of a file, read in parts: its size is no limit.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { checkRegular } from './regular-file.ts';

/** Hashed between two turns of the event loop: half a millisecond. */
const CHUNK_BYTES = 256 * 1024;

export interface HashPace {
  /** The most bytes to read in a second, so that other work is not disturbed. Default: no limit. */
  readonly bytesPerSecond?: number;
  /** Rejects with an `AbortError` once aborted. */
  readonly signal?: AbortSignal;
}

/** Hex, and how many bytes were read. Rejects as the file system does. */
export async function hashFile(
  file: string,
  { bytesPerSecond, signal }: HashPace = {},
): Promise<{ sha256: string; byteSize: number }> {
  const hash = createHash('sha256');
  const start = performance.now();
  let byteSize = 0;
  checkRegular(file);
  for await (const chunk of createReadStream(file, { highWaterMark: CHUNK_BYTES, signal })) {
    hash.update(chunk);
    byteSize += chunk.length;
    if (bytesPerSecond === undefined) continue;
    const aheadMs = (byteSize / bytesPerSecond) * 1000 - (performance.now() - start);
    if (aheadMs > 1) await delay(aheadMs, undefined, { signal });
  }
  return { sha256: hash.digest('hex'), byteSize };
}
