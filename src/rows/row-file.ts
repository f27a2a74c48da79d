// Reads the rows of a file as texts of JSON, whatever the file is: JSON lines, a JSON list, CSV or Parquet. The content tells,
// because names of uploaded files do not always. Cells of CSV are split here, because Papa Parse takes quadratic time for some quotes.
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { type Line, splitElements, splitLines, splitRecords } from './lines.ts';
import { ROW_COLUMNS } from './row-shapes.ts';

/** Enough for a CSV header, and for the first line of almost every file. */
const HEAD_BYTES = 64 * 1024;
/** Magic bytes of files without rows, with their offsets. */
const FOREIGN = [
  ['gzip', 0, [0x1f, 0x8b]],
  ['zip', 0, [0x50, 0x4b, 0x03, 0x04]],
  ['zip', 0, [0x50, 0x4b, 0x05, 0x06]],
  ['tar', 257, [0x75, 0x73, 0x74, 0x61, 0x72]],
  ['UTF-16', 0, [0xff, 0xfe]],
  ['UTF-16', 0, [0xfe, 0xff]],
] as const;
const FORMATS = 'JSON lines, a JSON list or CSV in UTF-8, or Parquet';
const LINES_ONLY = 'JSON lines in UTF-8';
const PARQUET = 'PAR1';

/** A Parquet file begins with its columns and ends with their description, so it cannot be read as a stream. */
export class ParquetError extends Error {
  override name = 'ParquetError';
}

interface CsvHeader {
  readonly fields: readonly string[];
  readonly delimiter: string;
}

/** The format of a file of rows. */
type RowFormat =
  | { readonly kind: 'lines' | 'list' | 'parquet' }
  | ({ readonly kind: 'csv' } & CsvHeader);

/** Whether a file is Parquet, by its first bytes. */
export function isParquet(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(0, PARQUET.length)).toString() === PARQUET;
}

/** Tells the format of a file by its first bytes. A file of no other format is JSON lines. */
function rowFormatOf(head: Uint8Array): RowFormat {
  const text = Buffer.from(head)
    .toString()
    .replace(/^\ufeff/u, '');
  const start = text.trimStart();
  if (isParquet(head)) return { kind: 'parquet' };
  if (start.startsWith('{')) return { kind: 'lines' };
  if (start.startsWith('[')) return { kind: 'list' };
  const header = readHeader(text.replace(/^[^\S\t]+/u, '')); // a leading tab is an empty name
  return header ? { kind: 'csv', ...header } : { kind: 'lines' };
}

/** Reads the first bytes of a file, and tells why it has no rows. Undefined if it seems to have some. @param isLines whether only JSON lines will do */
export async function startFault(
  file: FileHandle,
  { isLines }: { isLines: boolean },
): Promise<string | undefined> {
  const head = await readHead(file);
  const formats = isLines ? LINES_ONLY : FORMATS;
  const foreign = foreignFault(head, formats);
  if (foreign !== undefined) return foreign;
  if (!isLines && rowFormatOf(head).kind !== 'lines') return undefined;
  const isWhole = head.length < HEAD_BYTES;
  const lines = head
    .toString()
    .replace(/^\ufeff/u, '')
    .split('\n');
  const first = lines.findIndex((line) => line.trim() !== '');
  if (first < 0) return isWhole ? `is empty; expected ${formats}` : undefined;
  // With one row among them, these are rows, and the job or batch lists all bad ones.
  const whole = isWhole ? lines : lines.slice(0, -1);
  if (first >= whole.length || whole.some(isJsonObject)) return undefined;
  return `line ${first + 1} is not a JSON object; expected ${formats}`;
}

/** Returns the first bytes of a file. */
export async function readHead(file: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  return buffer.subarray(0, bytesRead);
}

/** Tells which other format a file has by its first bytes. Undefined: none that is known. */
export function foreignFault(head: Uint8Array, formats = FORMATS): string | undefined {
  const [name] =
    FOREIGN.find(([, offset, bytes]) =>
      Buffer.from(bytes).equals(head.subarray(offset, offset + bytes.length)),
    ) ?? (isMarklessUtf16(head) ? ['UTF-16'] : []);
  if (name) return `is ${name}; expected ${formats}`;
  if (!hasBareCr(head)) return undefined;
  return 'ends its lines with CR alone; save it with line ends of LF or CRLF';
}

/** Whether this is CSV whose lines end with CR, as old spreadsheets for the Mac write them. */
function hasBareCr(head: Uint8Array): boolean {
  const text = Buffer.from(head).toString();
  if (!text.includes('\r') || text.includes('\n')) return false;
  return rowFormatOf(Buffer.from(text.replaceAll('\r', '\n'))).kind === 'csv';
}

/** Whether one of the first two bytes is 0: every file of rows begins with ASCII. */
function isMarklessUtf16([first, second]: Uint8Array): boolean {
  return second !== undefined && (first === 0) !== (second === 0);
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/**
 * Yields the rows of a file that is not Parquet.
 * @param maxRowBytes longer rows come without their text
 * @throws ParquetError
 */
export async function* readRows(
  chunks: AsyncIterable<Uint8Array>,
  maxRowBytes?: number,
): AsyncGenerator<Line> {
  const { head, all, end } = await peek(chunks);
  try {
    const format = rowFormatOf(head);
    if (format.kind === 'parquet') throw new ParquetError('is a Parquet file');
    if (format.kind === 'csv') yield* csvRows(all, format, maxRowBytes);
    else if (format.kind === 'list') yield* splitElements(all, maxRowBytes);
    else yield* splitLines(all, maxRowBytes);
  } finally {
    await end();
  }
}

/** A row group is in memory as a whole, and a file of 300 bytes can announce billions of rows. Writers make groups of at most this. */
const MAX_GROUP_ROWS = 2 ** 20;
/** Rows that are read before signals and other requests get a turn. */
const ROWS_PER_TURN = 256;

/** Yields the rows of a Parquet file, one row group in memory at a time. Rejects with the reason if the file is damaged. */
export async function* readParquet(file: string): AsyncGenerator<Line> {
  const [{ asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects }, { compressors }] =
    await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  const buffer = await asyncBufferFromFile(file);
  const metadata = await parquetMetadataAsync(buffer);
  let number = 0;
  for (const { num_rows: count } of metadata.row_groups) {
    if (count < 0 || count > MAX_GROUP_ROWS)
      throw new Error(`a row group has ${count} rows; at most ${MAX_GROUP_ROWS} are read`);
    const range = { rowStart: number, rowEnd: number + Number(count) };
    const rows = await parquetReadObjects({ file: buffer, metadata, ...range, compressors });
    for (const row of rows) {
      yield { number: ++number, text: JSON.stringify(row, toJson) };
      if (number % ROWS_PER_TURN === 0) await setImmediate();
    }
  }
}

/** Whole numbers of 64 bits. Labels and weights are small. */
function toJson(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

/** Returns the first bytes, all chunks, and a function that ends the source wherever it is. */
async function peek(chunks: AsyncIterable<Uint8Array>) {
  const rest = chunks[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  for (let byteLength = 0; byteLength < HEAD_BYTES; byteLength += first.at(-1)!.length) {
    const { done, value } = await rest.next();
    if (done) break;
    first.push(value);
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    yield* first;
    yield* { [Symbol.asyncIterator]: () => rest };
  }
  const end = async () => void (await rest.return?.());
  return { head: Buffer.concat(first).subarray(0, HEAD_BYTES), all: all(), end };
}

/** Headers are shorter. */
const MAX_HEADER_LENGTH = 4096;

/** Returns the header of a CSV file; undefined if no column is known. */
function readHeader(start: string): CsvHeader | undefined {
  const [line = ''] = start.slice(0, MAX_HEADER_LENGTH).split(/\r?\n/u, 1);
  const headers = [...',\t;|'].map((delimiter) => {
    const fields = cellsOf(line, delimiter)?.map((field) => field.trim()) ?? [];
    return { delimiter, fields };
  });
  return headers
    .filter(({ fields }) => fields.some((field) => ROW_COLUMNS.has(field)))
    .sort((a, b) => b.fields.length - a.fields.length)[0];
}

/** Columns in which an empty cell is a text. In others it is the lack of a value. */
const TEXT_COLUMNS = new Set(['prompt', 'input', 'text']);

async function* csvRows(
  chunks: AsyncIterable<Uint8Array>,
  { fields, delimiter }: CsvHeader,
  maxBytes: number | undefined,
): AsyncGenerator<Line> {
  const twin = fields.find((field, i) => field !== '' && fields.indexOf(field) < i);
  let isHeader = true;
  for await (const { text, ...line } of splitRecords(chunks, { delimiter, maxBytes })) {
    if (isHeader && (twin !== undefined || text === undefined)) {
      const fault = twin === undefined ? {} : { fault: `names the column ${twin} twice` };
      yield { ...line, text: undefined, ...fault };
      return;
    }
    if (!isHeader) yield text === undefined ? { ...line, text } : { ...line, ...toRow(text) };
    isHeader = false;
  }

  function toRow(text: string): Pick<Line, 'text' | 'fault'> {
    const cells = cellsOf(text.replace(/\r$/u, ''), delimiter);
    if (!cells) return { text: undefined, fault: 'is not CSV: its quotes do not match' };
    if (cells.length !== fields.length) {
      const fault = `has ${cells.length} cells, but the header has ${fields.length}`;
      return { text: undefined, fault };
    }
    const entries = fields
      .map((field, i) => [field, cells[i]!] as const)
      .filter(([field, cell]) => cell !== '' || TEXT_COLUMNS.has(field));
    return { text: JSON.stringify(Object.fromEntries(entries)) };
  }
}

/** Splits a record into cells, in one pass. Undefined if a quoted cell does not end, or ends before its delimiter. */
function cellsOf(record: string, delimiter: string): string[] | undefined {
  const cells: string[] = [];
  let at = 0;
  for (;;) {
    let cell = '';
    if (record[at] === '"') {
      let from = at + 1;
      let end = record.indexOf('"', from);
      for (; end >= 0 && record[end + 1] === '"'; end = record.indexOf('"', from)) {
        cell += record.slice(from, end + 1);
        from = end + 2;
      }
      if (end < 0) return undefined;
      cell += record.slice(from, end);
      at = end + 1;
      if (at < record.length && record[at] !== delimiter) return undefined;
    } else {
      const end = record.indexOf(delimiter, at);
      cell = record.slice(at, end < 0 ? undefined : end);
      at += cell.length;
    }
    cells.push(cell);
    if (at >= record.length) return cells;
    at++;
  }
}
