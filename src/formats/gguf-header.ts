// Walks through the header of a GGUF file before a library parses it, and checks that all that it announces is in the file. The
// library reads zeros beyond the end of a file: eleven bytes that announce 131,074 tensors took 31 MB.
import { fstatSync } from 'node:fs';
import { FileError } from '../common/errors.ts';
import { readAt } from '../common/regular-file.ts';

/** Bytes that are read at once. */
const WINDOW_BYTES = 64 * 2 ** 10;
/** The largest models have a few thousand tensors, and files have fewer than a hundred values. */
const MAX_ENTRIES = 65_536;
/** Arrays in arrays. The library has the same limit. */
const MAX_DEPTH = 4;
const VERSIONS = [1, 2, 3];
const STRING = 8;
const ARRAY = 9;
/** Type → bytes of a value; 0 for strings and arrays. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** Throws `FileError` if the header of an open file is not whole. Files of another format or version pass. */
export function checkGgufHeader(file: number): void {
  const header = new Cursor(file);
  if (!header.start()) return;
  const tensorCount = header.count('tensors');
  const valueCount = header.count('values');
  for (let i = 0; i < valueCount; i++) {
    header.skip(header.size());
    skipValue(header, header.uint32());
  }
  for (let i = 0; i < tensorCount; i++) {
    header.skip(header.size());
    header.skip(header.uint32() * header.sizeBytes);
    header.skip(4 + 8); // type and offset
  }
}

function skipValue(header: Cursor, type: number, depth = 0): void {
  const byteLength = VALUE_BYTES[type];
  if (byteLength === undefined) throw new FileError('header', `has a value of type ${type}`);
  if (type === STRING) header.skip(header.size());
  else if (type === ARRAY) skipArray(header, depth + 1);
  else header.skip(byteLength);
}

function skipArray(header: Cursor, depth: number): void {
  if (depth > MAX_DEPTH) throw new FileError('header', `has arrays ${depth} levels deep`);
  const type = header.uint32();
  const count = header.size();
  const byteLength = VALUE_BYTES[type] ?? 0;
  if (byteLength > 0) header.skip(count * byteLength);
  else for (let i = 0; i < count; i++) skipValue(header, type, depth); // each takes four bytes or more
}

/** A place in the file that only moves on. */
class Cursor {
  /** Bytes of a count or length: 4 in the first version. */
  sizeBytes = 8;
  readonly #file: number;
  readonly #fileBytes: number;
  #isLittleEndian = true;
  #offset = 0;
  #windowStart = 0;
  #window: DataView = new DataView(new ArrayBuffer(0));

  constructor(file: number) {
    this.#file = file;
    this.#fileBytes = fstatSync(file).size;
  }

  /** Reads magic and version. Returns whether they are known. */
  start(): boolean {
    const isGguf = this.#view(4).getUint32(0) === 0x47475546;
    const version = this.#view(4);
    this.#isLittleEndian = version.getUint16(0, true) !== 0;
    const number = version.getUint32(0, this.#isLittleEndian);
    if (number === 1) this.sizeBytes = 4;
    return isGguf && VERSIONS.includes(number);
  }

  /** Reads a number of entries. Throws if there are too many. */
  count(of: string): number {
    const count = this.size();
    if (count <= MAX_ENTRIES) return count;
    throw new FileError('header', `has ${count} ${of}; at most ${MAX_ENTRIES} are read`);
  }

  /** Reads a count or length. */
  size(): number {
    const view = this.#view(this.sizeBytes);
    if (this.sizeBytes === 4) return view.getUint32(0, this.#isLittleEndian);
    return Number(view.getBigUint64(0, this.#isLittleEndian));
  }

  uint32(): number {
    return this.#view(4).getUint32(0, this.#isLittleEndian);
  }

  skip(byteLength: number): void {
    this.#offset += byteLength;
    if (this.#offset <= this.#fileBytes) return;
    throw new FileError('header', 'extends beyond the end of the file');
  }

  /** Returns the next bytes. */
  #view(byteLength: number): DataView {
    const start = this.#offset;
    this.skip(byteLength);
    if (start + byteLength > this.#windowStart + this.#window.byteLength) {
      const bytes = readAt(this.#file, start, Math.min(WINDOW_BYTES, this.#fileBytes - start));
      this.#window = new DataView(bytes.buffer);
      this.#windowStart = start;
    }
    return new DataView(this.#window.buffer, start - this.#windowStart, byteLength);
  }
}
