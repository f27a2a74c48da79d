// Opens a GGUF file and reads its metadata and, one at a time, its tensors as fp32. @huggingface/gguf reads the header
// and limits its counts and lengths. The extents of tensors are checked here. Does not know any model.
import { closeSync, fstatSync } from 'node:fs';
import { gguf } from '@huggingface/gguf';
import { FileError } from '../common/errors.ts';
import { openRegular, readAt } from '../common/regular-file.ts';
import { elementCount } from '../common/tensor.ts';
import { BLOCK_FORMATS, type BlockFormat } from './gguf-blocks.ts';
import { checkGgufHeader } from './gguf-header.ts';
import { shorten } from './header-json.ts';

/** An open GGUF file. */
export interface GgufFile {
  /** Integers are numbers if they are safe integers, otherwise bigints. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Name → row-major shape. A GGUF file itself lists the axes in reverse order. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Reads a tensor. Throws `FileError` if there is none of that name. */
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
    return {
      metadata: plainMetadata(metadata as Record<string, unknown>),
      shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
      read(name) {
        const tensor = tensors.get(name);
        if (!tensor) throw new FileError(name, 'is not in the file');
        const { format, shape, begin, byteLength } = tensor;
        return format.dequantize(readAt(file, begin, byteLength), elementCount(shape));
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
    const known = Object.values(BLOCK_FORMATS).map(({ name }) => name);
    throw new FileError(
      name,
      `ggml type ${type} is not supported. Supported: ${known.join(', ')}.`,
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
