// Reads the rows of a training file: JSON lines, a JSON list, CSV or Parquet.
import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { FileDigest } from '../../src/contracts/training-origin.ts';
import type { Line } from '../../src/rows/lines.ts';
import {
  foreignFault,
  isParquet,
  readHead,
  readParquet,
  readRows,
} from '../../src/rows/row-file.ts';
import { DatasetError } from './example.ts';

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
 * Yields the rows.
 * @param read counts the bytes
 * @throws DatasetError if the file does not exist or is of another kind
 */
export async function* readLines(file: string, read = new ReadBytes()): AsyncGenerator<Line> {
  const head = await readStart(file);
  const bytes = read.count(createReadStream(file));
  if (!isParquet(head)) return yield* readRows(bytes);
  for await (const _ of bytes); // they are counted
  yield* parquetRows(file);
}

async function* parquetRows(file: string): AsyncGenerator<Line> {
  const rows = readParquet(file);
  while (true) {
    const { done, value } = await rows.next().catch((error: Error) => {
      // The reader refuses with plain errors. Others, such as a TypeError, are about its code.
      const detail = error.name === 'Error' ? `: ${error.message}` : '';
      throw new DatasetError(path.basename(file), `is damaged Parquet${detail}`);
    });
    if (done) return;
    yield value;
  }
}

/** Returns the first bytes. @throws DatasetError if they are of a file without rows */
async function readStart(file: string): Promise<Buffer> {
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
    const head = await readHead(handle);
    const fault = foreignFault(head);
    if (fault !== undefined) throw new DatasetError(name, fault);
    return head;
  } finally {
    await handle.close();
  }
}
