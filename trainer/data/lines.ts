// The lines of a JSONL file, streamed: memory stays at one line however large the file is. Blank lines, CRLF, a byte
// order mark and a missing last newline are fine; what is no UTF-8 text at all is refused before it is read.
import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { DatasetError } from './example.ts';

export interface Line {
  /** From 1; blank lines count. */
  readonly number: number;
  /** Undefined where the line is too long or no UTF-8. */
  readonly text: string | undefined;
  readonly fault?: string;
}

/** A conversation of a million characters is far beyond every context. */
const MAX_LINE_BYTES = 16 * 2 ** 20;

/** How other kinds of files begin. */
const FOREIGN_STARTS: readonly (readonly [kind: string, bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zip', [0x50, 0x4b, 0x03, 0x04]],
  ['UTF-16 text', [0xff, 0xfe]],
  ['UTF-16 text', [0xfe, 0xff]],
];
const NEWLINE = 0x0a;
/** Drops a byte order mark. One for all lines: each has memory outside the heap. */
const DECODER = new TextDecoder('utf-8', { fatal: true });

/** All lines that are not blank. @throws DatasetError where the file is absent or of another kind */
export async function* readLines(file: string): AsyncGenerator<Line> {
  await refuseForeign(file);
  let number = 0;
  let parts: Buffer[] = [];
  let byteLength = 0;
  const append = (piece: Buffer) => {
    byteLength += piece.length;
    if (byteLength <= MAX_LINE_BYTES) parts.push(piece);
  };
  const end = (): Line | undefined => {
    const line = toLine(++number, parts, byteLength);
    parts = [];
    byteLength = 0;
    return line;
  };
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, start)) {
      append(chunk.subarray(start, at));
      start = at + 1;
      const line = end();
      if (line) yield line;
    }
    append(chunk.subarray(start));
  }
  const last = end();
  if (last) yield last;
}

function toLine(number: number, parts: readonly Buffer[], byteLength: number): Line | undefined {
  if (byteLength > MAX_LINE_BYTES) {
    const fault = `has ${byteLength} bytes, the limit is ${MAX_LINE_BYTES}`;
    return { number, text: undefined, fault };
  }
  try {
    const text = DECODER.decode(parts.length === 1 ? parts[0] : Buffer.concat(parts));
    return text.trim() === '' ? undefined : { number, text };
  } catch {
    return { number, text: undefined, fault: 'is not UTF-8' };
  }
}

async function refuseForeign(file: string): Promise<void> {
  const name = path.basename(file);
  const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    (error: NodeJS.ErrnoException) => {
      throw new DatasetError(name, `cannot be read (${error.code ?? error.message})`);
    },
  );
  try {
    if (!(await handle.stat()).isFile()) throw new DatasetError(name, 'is no file');
    const start = Buffer.alloc(4);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    for (const [kind, bytes] of FOREIGN_STARTS) {
      if (bytesRead >= bytes.length && bytes.every((byte, i) => start[i] === byte)) {
        throw new DatasetError(name, `is ${kind}; JSON lines in UTF-8 are read`);
      }
    }
  } finally {
    await handle.close();
  }
}
