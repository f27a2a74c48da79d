// Reads and writes safetensors files. Invalid files throw `FileError` before any memory is allocated for the data.
import { closeSync, fstatSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { assert } from '../common/assert.ts';
import { openRegular, readAt } from '../common/regular-file.ts';
import {
  createTensorSource,
  DTYPE_BYTES,
  elementCount,
  rowExtent,
  type Tensor,
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
  type TensorExtent,
} from './safetensors-header.ts';

export { ADAPTER_LIMITS, BASE_LIMITS, type SafetensorsLimits } from './safetensors-header.ts';

/** A parsed file. */
interface Safetensors {
  /** Views of the parsed bytes, at any alignment. */
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Record<string, string>;
}

/** Parses a file in memory. Throws `FileError` naming the tensor at fault or `header`. */
export function parseSafetensors(
  bytes: Uint8Array,
  limits: SafetensorsLimits = BASE_LIMITS,
): Safetensors {
  const headerBytes = parseHeaderLength(bytes, bytes.length, limits);
  const header = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + headerBytes);
  const { tensors: extents, metadata } = parseHeader(header, bytes.length, limits);
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, begin, byteLength }] of extents) {
    tensors.set(name, { dtype, shape, data: bytes.subarray(begin, begin + byteLength) });
  }
  return { tensors, metadata };
}

/** Opens a file and reads its header. Tensors are read on demand. Throws `FileError` and I/O errors. */
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
  const { tensors, metadata } = header;
  const read = (_: string, { dtype, shape, begin, byteLength }: TensorExtent): Tensor => {
    return { dtype, shape, data: readAt(file, begin, byteLength) };
  };
  const readRow = (name: string, matrix: TensorExtent, row: number): Tensor => {
    const { begin, ...extent } = rowExtent(matrix, row);
    return read(name, { ...extent, begin: matrix.begin + begin });
  };
  const close = () => closeSync(file);
  return { ...createTensorSource(tensors, read, { readRow, close }), metadata };
}

/** Tensors to write. */
export type WritableTensors = Pick<TensorSource, 'infos' | 'read'>;

/**
 * Writes a file under a temporary name and renames it, so readers never see part of it. Reads one tensor at a time from the
 * source. The same tensors give the same bytes. Yields to the event loop between tensors, and throws there once `signal` is
 * aborted.
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
  await using file = await open(temporary, 'w');
  try {
    await file.writeFile(serializeHeader(infos, metadata));
    for (const [name, { dtype, shape }] of infos) {
      signal?.throwIfAborted();
      const { data } = source.read(name);
      const expected = elementCount(shape) * DTYPE_BYTES[dtype];
      assert(data.length === expected, `${name} has ${data.length} bytes instead of ${expected}`);
      await file.writeFile(data);
    }
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Returns the bytes that `writeSafetensors` would write. Meant for adapters, which are small. */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const inOrder = [...tensors].sort(compareForFile);
  const parts = [serializeHeader(inOrder, metadata), ...inOrder.map(([, tensor]) => tensor.data)];
  return new Uint8Array(Buffer.concat(parts));
}

/** Returns a source of tensors in memory. */
export function memorySource(tensors: ReadonlyMap<string, Tensor>): TensorSource {
  return createTensorSource(tensors, (_, tensor) => tensor);
}
