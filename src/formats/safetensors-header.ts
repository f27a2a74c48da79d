// Parses and writes the header of a safetensors file. A parsed header has known dtypes, bounded shapes, and tensors that cover
// the file exactly. Tensor data is not read here.

import { FileError } from '../common/errors.ts';
import { formatFileSize } from '../common/format-bytes.ts';
import { DTYPE_BYTES, type DType, elementCount, type TensorInfo } from '../common/tensor.ts';
import { parseHeaderJson, shorten } from './header-json.ts';

/** Limits for files of one origin. */
export interface SafetensorsLimits {
  readonly maxHeaderBytes: number;
  readonly maxTensors: number;
  readonly dtypes: readonly DType[];
  /** 0 allows scalars. */
  readonly minDimensions: 0 | 1;
}

/**
 * For base models, which the operator has chosen: the reference implementation's limit, and more tensors than any known shard
 * contains.
 */
export const BASE_LIMITS: SafetensorsLimits = {
  maxHeaderBytes: 100_000_000,
  maxTensors: 65_536,
  dtypes: Object.keys(DTYPE_BYTES) as DType[],
  minDimensions: 0, // scales that apply to whole tensors
};

/** For adapters from tenants. 126 layers with 7 linear layers of A and B are 1,764 tensors in a header of 250 KB. */
export const ADAPTER_LIMITS: SafetensorsLimits = {
  maxHeaderBytes: 1024 * 1024,
  maxTensors: 4096,
  dtypes: ['F32', 'F16', 'BF16'],
  minDimensions: 1,
};

/** The size of the little-endian header length at the start of the file. */
export const LENGTH_BYTES = 8;

/** Several times the longest known module path. */
const MAX_NAME_LENGTH = 512;
const NAME_PATTERN = /^[\w][\w./:+-]*$/;

/** A tensor's type, shape and extent in the file. */
export interface TensorExtent extends TensorInfo {
  /** The offset in bytes from the start of the file. */
  readonly begin: number;
  readonly byteLength: number;
}

/** A parsed header. */
export interface SafetensorsHeader {
  readonly tensors: Map<string, TensorExtent>;
  readonly metadata: Record<string, string>;
}

/** Reads the header's length in bytes from the start of a file. Throws `FileError` if it is impossible. */
export function parseHeaderLength(
  start: Uint8Array,
  fileBytes: number,
  limits: SafetensorsLimits,
): number {
  if (start.length < LENGTH_BYTES)
    throw new FileError('header', 'the file is shorter than 8 bytes');
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(limits.maxHeaderBytes)) {
    throw new FileError(
      'header',
      `has ${length} bytes; the limit is ${formatFileSize(limits.maxHeaderBytes)}`,
    );
  }
  const headerBytes = Number(length);
  if (LENGTH_BYTES + headerBytes > fileBytes) {
    throw new FileError('header', `claims ${headerBytes} bytes in a file of ${fileBytes}`);
  }
  return headerBytes;
}

/** Parses the header and checks that its tensors cover the file without gaps, overlaps or trailing bytes. */
export function parseHeader(
  header: Uint8Array,
  fileBytes: number,
  limits: SafetensorsLimits,
): SafetensorsHeader {
  if (header[0] !== 0x7b) throw new FileError('header', 'does not start with "{"');
  const { entries, metadata } = parseHeaderJson(decodeUtf8(header), limits.maxTensors);
  const dataStart = LENGTH_BYTES + header.length;
  const tensors = new Map<string, TensorExtent>();
  for (const [name, { dtype, shape, offsets }] of entries) {
    checkTensorName(name);
    const byteLength = byteLengthOf(name, dtype, shape, limits);
    const [begin, end] = offsets;
    if (offsets.length !== 2 || begin === undefined || end === undefined || end < begin) {
      throw new FileError(name, 'data_offsets is not [begin, end]');
    }
    if (end - begin !== byteLength) {
      throw new FileError(
        name,
        `has ${end - begin} bytes of data, but its shape needs ${byteLength}`,
      );
    }
    tensors.set(name, { dtype: dtype as DType, shape, begin: dataStart + begin, byteLength });
  }
  checkCoverage(tensors, dataStart, fileBytes);
  return { tensors, metadata };
}

/** Returns the bytes before the data: length, JSON, and spaces that align the data to 8 bytes. */
export function serializeHeader(
  infos: Iterable<readonly [string, TensorInfo]>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const json: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) json['__metadata__'] = metadata;
  let offset = 0;
  for (const [name, { dtype, shape }] of infos) {
    checkTensorName(name);
    const end = offset + elementCount(shape) * DTYPE_BYTES[dtype];
    json[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(json));
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, LENGTH_BYTES);
  return bytes;
}

/** Compares tensors by file order: wide types first, which keeps tensors aligned, then by name. */
export function compareForFile(
  [nameA, a]: readonly [string, TensorInfo],
  [nameB, b]: readonly [string, TensorInfo],
): number {
  return DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (nameA < nameB ? -1 : 1);
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FileError('header', 'is not UTF-8', { cause });
  }
}

function checkTensorName(name: string): void {
  const isPlain = name.length <= MAX_NAME_LENGTH && NAME_PATTERN.test(name);
  if (!isPlain || name.includes('..') || name.includes('__proto__')) {
    throw new FileError(shorten(name), 'is not a tensor name');
  }
}

function byteLengthOf(
  name: string,
  dtype: string,
  shape: readonly number[],
  limits: SafetensorsLimits,
): number {
  if (!limits.dtypes.includes(dtype as DType)) {
    throw new FileError(
      name,
      `has dtype ${shorten(dtype)}, which is not one of ${limits.dtypes.join(', ')}`,
    );
  }
  if (shape.length < limits.minDimensions || shape.includes(0)) {
    throw new FileError(name, 'is empty');
  }
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype as DType];
  if (!Number.isSafeInteger(bytes)) throw new FileError(name, `shape [${shape}] is too large`);
  return bytes;
}

function checkCoverage(
  tensors: Map<string, TensorExtent>,
  dataStart: number,
  fileBytes: number,
): void {
  let offset = dataStart;
  const inOrder = [...tensors].sort(([, a], [, b]) => a.begin - b.begin);
  for (const [name, { begin, byteLength }] of inOrder) {
    if (begin > offset)
      throw new FileError(name, `has a gap of ${begin - offset} bytes before its data`);
    if (begin < offset) throw new FileError(name, 'has data that overlaps another tensor');
    offset = begin + byteLength;
  }
  if (offset > fileBytes) {
    throw new FileError('file', `has ${fileBytes} bytes, but its header needs ${offset}`);
  }
  if (offset < fileBytes)
    throw new FileError('file', `has ${fileBytes - offset} bytes after the data`);
}
