// Splits files of rows into lines: JSON lines, the elements of a JSON list, or the records of a CSV file. A file is read in
// chunks, with one line in memory at a time. Blank lines, CRLF, a byte order mark and a missing final newline are accepted.
import { formatFileSize } from '../common/format-bytes.ts';

/** A line of a file. */
export interface Line {
  /** Counted from 1, including blank lines. In a JSON list, the element's number. */
  readonly number: number;
  /** Undefined if the line is too long or not UTF-8. */
  readonly text: string | undefined;
  readonly fault?: string;
  readonly isTooLong?: true;
}

/** Far larger than any model's context. */
const MAX_LINE_BYTES = 16 * 2 ** 20;
/** Drops a byte order mark. All lines share one decoder, because each decoder takes memory outside the heap. */
const DECODER = new TextDecoder('utf-8', { fatal: true });

const [NEWLINE, SPACE, QUOTE, COMMA, BACKSLASH] = [0x0a, 0x20, 0x22, 0x2c, 0x5c] as const;
const OPENING = new Set(Buffer.from('[{'));
const CLOSING = new Set(Buffer.from(']}'));

/** Collects the pieces of a line, up to a limit. */
class LineBuffer {
  readonly #maxBytes: number;
  #parts: Uint8Array[] = [];
  #byteLength = 0;
  number = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  append(piece: Uint8Array): void {
    this.#byteLength += piece.length;
    if (this.#byteLength <= this.#maxBytes) this.#parts.push(piece);
  }

  /** Returns the line and begins the next one. Undefined if it is blank. */
  end(): Line | undefined {
    const [parts, byteLength] = [this.#parts, this.#byteLength];
    this.#parts = [];
    this.#byteLength = 0;
    const number = ++this.number;
    return byteLength > this.#maxBytes
      ? tooLong(number, byteLength, this.#maxBytes)
      : decodeLine(number, parts);
  }
}

/** Yields the non-blank lines. A line longer than `maxLineBytes` comes without its text. */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  maxLineBytes = MAX_LINE_BYTES,
): AsyncGenerator<Line> {
  const buffer = new LineBuffer(maxLineBytes);
  for await (const chunk of chunks) {
    let start = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, start)) {
      buffer.append(chunk.subarray(start, at));
      start = at + 1;
      const line = buffer.end();
      if (line) yield line;
    }
    buffer.append(chunk.subarray(start));
  }
  const last = buffer.end();
  if (last) yield last;
}

/** Yields the records of a CSV file, the header included. A newline in a quoted cell does not end a record. */
export async function* splitRecords(
  chunks: AsyncIterable<Uint8Array>,
  { delimiter, maxBytes = MAX_LINE_BYTES }: { delimiter: string; maxBytes?: number | undefined },
): AsyncGenerator<Line> {
  const buffer = new LineBuffer(maxBytes);
  const separator = delimiter.charCodeAt(0);
  let isQuoted = false;
  /** Whether a quote opens a cell: at its start, and right after a quote that closes one, since two stand for one. */
  let canOpen = true;
  let newlines = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (const [at, byte] of chunk.entries()) {
      if (byte === NEWLINE) newlines++;
      const isQuote = byte === QUOTE;
      const closes: boolean = isQuote && isQuoted;
      if (isQuote) isQuoted = !isQuoted && canOpen;
      canOpen = closes || (!isQuoted && (byte === separator || byte === NEWLINE));
      if (byte !== NEWLINE || isQuoted) continue;
      buffer.append(chunk.subarray(start, at));
      start = at + 1;
      const line = buffer.end();
      buffer.number = newlines;
      if (line) yield line;
    }
    buffer.append(chunk.subarray(start));
  }
  const last = buffer.end();
  if (last) yield last;
}

/** Yields the elements of a JSON list as texts. What follows an element that is not JSON may be split in another way. */
export async function* splitElements(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes = MAX_LINE_BYTES,
): AsyncGenerator<Line> {
  const buffer = new LineBuffer(maxBytes);
  let depth = 0;
  let isText = false;
  let isEscaped = false;
  let isOver = false;
  let isMore = false;
  for await (const chunk of chunks) {
    let start = 0;
    for (const [at, byte] of chunk.entries()) {
      if (isOver) {
        isMore ||= byte > SPACE;
      } else if (isText) {
        if (isEscaped) isEscaped = false;
        else if (byte === BACKSLASH) isEscaped = true;
        else if (byte === QUOTE) isText = false;
      } else if (byte === QUOTE) isText = true;
      else if (OPENING.has(byte)) {
        if (depth++ === 0) start = at + 1;
      } else {
        if (CLOSING.has(byte)) depth--;
        isOver = depth === 0 && CLOSING.has(byte);
        if (!isOver && !(depth === 1 && byte === COMMA)) continue;
        buffer.append(chunk.subarray(start, at));
        start = at + 1;
        const line = buffer.end();
        if (line) yield line;
      }
    }
    if (depth > 0) buffer.append(chunk.subarray(start));
  }
  const fault = isMore
    ? 'follows the list'
    : isOver
      ? undefined
      : 'is not complete: the list does not end';
  if (fault) yield { number: buffer.number + 1, text: undefined, fault };
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
