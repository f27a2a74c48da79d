// Opens a GGUF file and reads its metadata and, one at a time, its tensors as fp32. @huggingface/gguf reads the header and
// limits its counts and lengths. The extents of tensors are checked here.
import { closeSync, fstatSync } from 'node:fs';
import { gguf } from '@huggingface/gguf';
import { FileError } from '../common/errors.ts';
import { openRegular, readAt } from '../common/regular-file.ts';
import { elementCount } from '../common/tensor.ts';
import { BLOCK_FORMATS, type BlockFormat } from './gguf-blocks.ts';
import { shorten } from './header-json.ts';

/** An open GGUF file. */
export interface GgufFile {
  /** Integers are numbers if they are safe integers, otherwise bigints. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Name → row-major shape. A GGUF file itself lists the axes in reverse order. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Reads a tensor, into memory that the next call uses again. Throws `FileError` if there is none with that name. */
  read(name: string): Float32Array;
  close(): void;
}

/** A tensor's format and extent in the file. */
interface StoredTensor {
  readonly shape: readonly number[];
  readonly format: BlockFormat;
  readonly begin: number;
  readonly byteLength: number;
}

/** Opens the file. Throws `FileError` naming the tensor at fault or `header`. */
export async function openGguf(path: string): Promise<GgufFile> {
  const file = openRegular(path);
  try {
    checkGgufHeader(file);
    const { metadata, tensorInfos, tensorDataOffset } = await readHeader(path);
    const fileBytes = fstatSync(file).size;
    const tensors = new Map<string, StoredTensor>();
    for (const { name, shape, dtype, offset } of tensorInfos) {
      if (tensors.has(name)) throw new FileError(shorten(name), 'occurs twice');
      const dims = shape.map(Number).reverse();
      const begin = Number(tensorDataOffset + offset);
      tensors.set(name, locateTensor({ name: shorten(name), dims, type: dtype, begin, fileBytes }));
    }
    let memory = new Float32Array();
    return {
      metadata: plainMetadata(metadata as Record<string, unknown>),
      shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
      read(name) {
        const tensor = tensors.get(name);
        if (!tensor) throw new FileError(name, 'is not in the file');
        const { format, shape, begin, byteLength } = tensor;
        const count = elementCount(shape);
        if (memory.length < count) memory = new Float32Array(count);
        const values = memory.subarray(0, count);
        format.dequantize(readAt(file, begin, byteLength), values);
        return values;
      },
      close: () => closeSync(file),
    };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

async function readHeader(path: string): ReturnType<typeof gguf> {
  try {
    return await gguf(path, { allowLocalFile: true });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new FileError('header', `is not a readable GGUF header: ${message}`, { cause });
  }
}

/** A tensor's entry in the header, and the size of the file. */
interface TensorHeader {
  readonly name: string;
  readonly dims: readonly number[];
  readonly type: number;
  readonly begin: number;
  readonly fileBytes: number;
}

function locateTensor({ name, dims, type, begin, fileBytes }: TensorHeader): StoredTensor {
  const format = BLOCK_FORMATS[type];
  if (!format) {
    const names = Object.values(BLOCK_FORMATS).map(({ name }) => name);
    throw new FileError(
      name,
      `ggml type ${type} is not supported. Supported: ${names.join(', ')}.`,
    );
  }
  const count = elementCount(dims);
  const rowLength = dims.at(-1) ?? 0;
  if (!Number.isSafeInteger(count) || count === 0 || rowLength % format.blockSize !== 0) {
    throw new FileError(
      name,
      `shape [${dims}] is not a multiple of the block size ${format.blockSize}`,
    );
  }
  const byteLength = (count / format.blockSize) * format.blockBytes;
  if (!Number.isSafeInteger(begin) || begin + byteLength > fileBytes) {
    throw new FileError(name, 'extends beyond the end of the file');
  }
  return { shape: dims, format, begin, byteLength };
}

function plainMetadata(metadata: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [
      key,
      Array.isArray(value) ? value.map(plainNumber) : plainNumber(value),
    ]),
  );
}

function plainNumber(value: unknown): unknown {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

// Walks through the header of a GGUF file before a library parses it, and checks that the file contains everything that it
// announces. The library reads zeros beyond the end of a file: eleven bytes that announced 131,074 tensors took 31 MB.

/** Bytes per read. */
const WINDOW_BYTES = 64 * 2 ** 10;
/** The largest models have a few thousand tensors, and files contain fewer than a hundred metadata values. */
const MAX_ENTRIES = 65_536;
/** The nesting of arrays. The library has the same limit. */
const MAX_DEPTH = 4;
const VERSIONS = [1, 2, 3];
const STRING = 8;
const ARRAY = 9;
/** Type → bytes of a value; 0 for strings and arrays. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** Throws `FileError` if the header of an open file is incomplete. Files of other formats or versions pass. */
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
  else for (let i = 0; i < count; i++) skipValue(header, type, depth); // each takes at least four bytes
}

/** A position in the file that only moves forward. */
class Cursor {
  /** Bytes of a count or length: 4 in the first version of the format. */
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

  /** Reads magic and version. Returns whether they are supported. */
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
