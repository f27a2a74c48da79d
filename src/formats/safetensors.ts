// Reads and writes safetensors files: bytes <-> named tensors. Every fault of a file is a `FileError`, found in the
// header before anything is allocated for the data. It knows no model and no adapter.
import { closeSync, fstatSync, readSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { assert } from '../common/assert.ts';
import { FileError } from '../common/errors.ts';
import { openRegular } from '../common/regular-file.ts';
import {
  DTYPE_BYTES,
  elementCount,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from '../common/tensor.ts';
import {
  BASE_LIMITS,
  compareForFile,
  LENGTH_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type SafetensorsLimits,
  serializeHeader,
} from './safetensors-header.ts';

export { ADAPTER_LIMITS, BASE_LIMITS, type SafetensorsLimits } from './safetensors-header.ts';

export interface Safetensors {
  /** Views of the bytes that were parsed, at any alignment. */
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Record<string, string>;
}

/** One call reads at most 2^31-1 bytes. */
const MAX_IO_BYTES = 1 << 30;

/** Parses a whole file in memory. Throws `FileError`, naming the tensor or `header`. */
export function parseSafetensors(
  bytes: Uint8Array,
  limits: SafetensorsLimits = BASE_LIMITS,
): Safetensors {
  const headerBytes = parseHeaderLength(bytes, bytes.length, limits);
  const header = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + headerBytes);
  const { places, metadata } = parseHeader(header, bytes.length, limits);
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, begin, byteLength }] of places) {
    tensors.set(name, { dtype, shape, data: bytes.subarray(begin, begin + byteLength) });
  }
  return { tensors, metadata };
}

/** Opens a file: reads its header now and each tensor when it is asked for. Throws `FileError` and I/O errors. */
export function openSafetensors(
  path: string,
  limits: SafetensorsLimits = BASE_LIMITS,
): TensorSource & { readonly metadata: Record<string, string> } {
  const file = openRegular(path);
  let header: SafetensorsHeader;
  try {
    const fileBytes = fstatSync(file).size;
    const start = readAt(file, 0, Math.min(LENGTH_BYTES, fileBytes));
    const headerBytes = parseHeaderLength(start, fileBytes, limits);
    header = parseHeader(readAt(file, LENGTH_BYTES, headerBytes), fileBytes, limits);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  const { places, metadata } = header;
  return {
    infos: places,
    metadata,
    read(name) {
      const place = places.get(name);
      if (!place) throw new FileError(name, 'there is no such tensor');
      const { dtype, shape, begin, byteLength } = place;
      return { dtype, shape, data: readAt(file, begin, byteLength) };
    },
    close: () => closeSync(file),
  };
}

export interface WritableTensors {
  readonly infos: ReadonlyMap<string, TensorInfo>;
  read(name: string): Tensor;
}

/**
 * Writes a file under a temporary name and renames it, so that a reader sees all of it or nothing. Tensors are read
 * from the source one at a time, in the file's order: wide dtypes first, then by name. The same tensors give the same
 * bytes. The event loop turns between tensors; an aborted `signal` ends it there.
 */
export async function writeSafetensors(
  path: string,
  source: WritableTensors,
  {
    metadata = {},
    signal,
  }: { metadata?: Readonly<Record<string, string>>; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const infos = [...source.infos].sort(compareForFile);
  const temporary = `${path}.tmp-${process.pid}`;
  const file = await open(temporary, 'w');
  try {
    await file.writeFile(serializeHeader(infos, metadata));
    for (const [name, { dtype, shape }] of infos) {
      signal?.throwIfAborted();
      const { data } = source.read(name);
      const expected = elementCount(shape) * DTYPE_BYTES[dtype];
      assert(data.length === expected, `${name}: ${data.length} bytes, promised ${expected}`);
      await file.writeFile(data);
    }
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** The same bytes as `writeSafetensors`, in memory: for adapters, which are small. */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const inOrder = [...tensors].sort(compareForFile);
  const parts = [serializeHeader(inOrder, metadata), ...inOrder.map(([, tensor]) => tensor.data)];
  return new Uint8Array(Buffer.concat(parts));
}

/** Tensors in memory, as a source. */
export function memorySource(tensors: ReadonlyMap<string, Tensor>): TensorSource {
  return {
    infos: tensors,
    read(name) {
      const tensor = tensors.get(name);
      if (!tensor) throw new FileError(name, 'there is no such tensor');
      return tensor;
    },
    close() {},
  };
}

function readAt(file: number, position: number, byteLength: number): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  let done = 0;
  while (done < byteLength) {
    const length = Math.min(byteLength - done, MAX_IO_BYTES);
    const count = readSync(file, bytes, done, length, position + done);
    if (count === 0) throw new FileError('file', 'became shorter while it was read');
    done += count;
  }
  return bytes;
}
