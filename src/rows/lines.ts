// Splits a JSONL file into lines. The file is read in chunks, with one line in memory at a time. Blank lines, CRLF, a byte
// order mark and a missing final newline are accepted.
import { formatFileSize } from '../common/format-bytes.ts';

/** A line of a file. */
export interface Line {
  /** Counted from 1, including blank lines. */
  readonly number: number;
  /** Undefined if the line is too long or not UTF-8. */
  readonly text: string | undefined;
  readonly fault?: string;
  readonly isTooLong?: true;
}

/** Far larger than any model's context. */
const MAX_LINE_BYTES = 16 * 2 ** 20;
const NEWLINE = 0x0a;
/** Drops a byte order mark. All lines share one decoder, because each decoder takes memory outside the heap. */
const DECODER = new TextDecoder('utf-8', { fatal: true });

/** Yields the non-blank lines. A line longer than `maxLineBytes` comes without its text. */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  maxLineBytes = MAX_LINE_BYTES,
): AsyncGenerator<Line> {
  let number = 0;
  let parts: Uint8Array[] = [];
  let byteLength = 0;
  const append = (piece: Uint8Array) => {
    byteLength += piece.length;
    if (byteLength <= maxLineBytes) parts.push(piece);
  };
  const end = (): Line | undefined => {
    const isTooLong = byteLength > maxLineBytes;
    const line = isTooLong
      ? tooLong(++number, byteLength, maxLineBytes)
      : decodeLine(++number, parts);
    parts = [];
    byteLength = 0;
    return line;
  };
  for await (const chunk of chunks) {
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

function tooLong(number: number, byteLength: number, limit: number): Line {
  const fault = `has ${formatFileSize(byteLength)}, the limit of a line is ${formatFileSize(limit)}`;
  return { number, text: undefined, fault, isTooLong: true };
}

function decodeLine(number: number, parts: readonly Uint8Array[]): Line | undefined {
  try {
    const text = DECODER.decode(parts.length === 1 ? parts[0] : Buffer.concat(parts));
    return text.trim() === '' ? undefined : { number, text };
  } catch {
    return { number, text: undefined, fault: 'is not UTF-8' };
  }
}
