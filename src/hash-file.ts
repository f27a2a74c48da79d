// The SHA-256 of a file, read in parts: its size is no limit.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

/** Hex, and how many bytes were read. Rejects as the file system does. */
export async function hashFile(file: string): Promise<{ sha256: string; byteSize: number }> {
  const hash = createHash('sha256');
  let byteSize = 0;
  for await (const chunk of createReadStream(file)) {
    hash.update(chunk);
    byteSize += chunk.length;
  }
  return { sha256: hash.digest('hex'), byteSize };
}
