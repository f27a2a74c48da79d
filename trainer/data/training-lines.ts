// Reads the lines of a training file.

import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { FileDigest } from '../../src/contracts/training-origin.ts';
import { type Line, splitLines } from '../../src/rows/lines.ts';
import { DatasetError } from './example.ts';

/** Magic bytes of other kinds of files. */
const FOREIGN_STARTS: readonly (readonly [kind: string, bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zip', [0x50, 0x4b, 0x03, 0x04]],
  ['UTF-16 text', [0xff, 0xfe]],
  ['UTF-16 text', [0xfe, 0xff]],
];

/** Counts and hashes the bytes that are read from a file. */
export class ReadBytes {
  readonly #hash = createHash('sha256');
  #byteSize = 0;

  /** Yields the chunks, and counts them. */
  async *count(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#hash.update(chunk);
      this.#byteSize += chunk.length;
      yield chunk;
    }
  }

  /** Returns the digest. Call it once, after the last chunk. */
  digest(): FileDigest {
    return { sha256: this.#hash.digest('hex'), byteSize: this.#byteSize };
  }
}

/**
 * Yields the non-blank lines.
 * @param read counts the bytes
 * @throws DatasetError if the file does not exist or is of another kind
 */
export async function* readLines(file: string, read = new ReadBytes()): AsyncGenerator<Line> {
  await refuseForeign(file);
  yield* splitLines(read.count(createReadStream(file)));
}

async function refuseForeign(file: string): Promise<void> {
  const name = path.basename(file);
  const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    (error: NodeJS.ErrnoException) => {
      throw new DatasetError(
        name,
        error.code === 'ENOENT'
          ? 'does not exist. Check its path: a relative one starts at the current folder, even in a job file'
          : `cannot be read (${error.code ?? error.message})`,
      );
    },
  );
  try {
    if (!(await handle.stat()).isFile()) throw new DatasetError(name, 'is not a file');
    const start = Buffer.alloc(4);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    for (const [kind, bytes] of FOREIGN_STARTS) {
      if (bytesRead >= bytes.length && bytes.every((byte, i) => start[i] === byte)) {
        throw new DatasetError(name, `is ${kind}, not JSON lines in UTF-8`);
      }
    }
  } finally {
    await handle.close();
  }
}
