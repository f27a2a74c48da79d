// Opens a GGUF file: its metadata, and its tensors widened to fp32 one at a time. The header is read by
// @huggingface/gguf, which bounds counts and lengths; where tensors lie is checked here. It knows no model.
import { closeSync, fstatSync, readSync } from 'node:fs';
import { gguf } from '@huggingface/gguf';
import { FileError } from '../common/errors.ts';
import { checkRegular, openRegular } from '../common/regular-file.ts';
import { elementCount } from '../common/tensor.ts';
import { BLOCK_FORMATS, type BlockFormat } from './gguf-blocks.ts';
import { shorten } from './header-json.ts';

export interface GgufFile {
  /** Integers are numbers where they are safe. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Name → shape, row-major (a GGUF file lists its axes the other way round). */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Throws `FileError` where there is no such tensor. */
  read(name: string): Float32Array;
  close(): void;
}

interface Place {
  readonly shape: readonly number[];
  readonly format: BlockFormat;
  readonly begin: number;
  readonly byteLength: number;
}

/** Opens the file; throws `FileError` naming the tensor or `header`. */
export async function openGguf(path: string): Promise<GgufFile> {
  const { metadata, tensorInfos, tensorDataOffset } = await readHeader(path);
  const file = openRegular(path);
  try {
    const fileBytes = fstatSync(file).size;
    const places = new Map<string, Place>();
    for (const { name, shape, dtype, offset } of tensorInfos) {
      if (places.has(name)) throw new FileError(shorten(name), 'occurs twice');
      const dims = shape.map(Number).reverse();
      const begin = Number(tensorDataOffset + offset);
      places.set(name, findPlace({ name: shorten(name), dims, type: dtype, begin, fileBytes }));
    }
    return {
      metadata: plainMetadata(metadata as Record<string, unknown>),
      shapes: new Map([...places].map(([name, { shape }]) => [name, shape])),
      read(name) {
        const place = places.get(name);
        if (!place) throw new FileError(name, 'there is no such tensor');
        return place.format.dequantize(readPlace(file, place), elementCount(place.shape));
      },
      close: () => closeSync(file),
    };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

async function readHeader(path: string): ReturnType<typeof gguf> {
  checkRegular(path);
  try {
    return await gguf(path, { allowLocalFile: true });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new FileError('header', `is not a readable GGUF header: ${message}`, { cause });
  }
}

interface Claim {
  readonly name: string;
  readonly dims: readonly number[];
  readonly type: number;
  readonly begin: number;
  readonly fileBytes: number;
}

function findPlace({ name, dims, type, begin, fileBytes }: Claim): Place {
  const format = BLOCK_FORMATS[type];
  if (!format) {
    const known = Object.values(BLOCK_FORMATS).map(({ name }) => name);
    throw new FileError(
      name,
      `ggml type ${type} is not supported (supported: ${known.join(', ')})`,
    );
  }
  const count = elementCount(dims);
  const rowLength = dims.at(-1) ?? 0;
  if (!Number.isSafeInteger(count) || count === 0 || rowLength % format.blockSize !== 0) {
    throw new FileError(name, `shape [${dims}] is not whole blocks of ${format.blockSize}`);
  }
  const byteLength = (count / format.blockSize) * format.blockBytes;
  if (!Number.isSafeInteger(begin) || begin + byteLength > fileBytes) {
    throw new FileError(name, 'lies beyond the end of the file');
  }
  return { shape: dims, format, begin, byteLength };
}

function readPlace(file: number, { begin, byteLength }: Place): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  for (let done = 0; done < byteLength; ) {
    const length = Math.min(byteLength - done, 2 ** 30);
    const count = readSync(file, bytes, done, length, begin + done);
    if (count === 0) throw new FileError('file', 'became shorter while it was read');
    done += count;
  }
  return bytes;
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
