// The header of a safetensors file, checked in full before any tensor is touched: what parses here has known
// dtypes, bounded shapes, and data that covers the file exactly. It reads no data and knows no model.
import { FileError } from '../common/errors.ts';
import { DTYPE_BYTES, type DType, elementCount, type TensorInfo } from '../common/tensor.ts';
import { parseHeaderJson, shorten } from './header-json.ts';

export interface SafetensorsLimits {
  readonly maxHeaderBytes: number;
  readonly maxTensors: number;
  readonly dtypes: readonly DType[];
}

/** A base model comes from its operator: the reference's own limit, and more tensors than any known shard has. */
export const BASE_LIMITS: SafetensorsLimits = {
  maxHeaderBytes: 100_000_000,
  maxTensors: 65_536,
  dtypes: Object.keys(DTYPE_BYTES) as DType[],
};

/** An adapter comes from a tenant: 126 layers x 7 linears x A and B are 1,764 tensors in a header of 250 KB. */
export const ADAPTER_LIMITS: SafetensorsLimits = {
  maxHeaderBytes: 1024 * 1024,
  maxTensors: 4096,
  dtypes: ['F32', 'F16', 'BF16'],
};

/** The little-endian header length in front of the header. */
export const LENGTH_BYTES = 8;

/** A tensor's name is a module path, which fits many times. */
const MAX_NAME_LENGTH = 512;
const NAME_PATTERN = /^[\w][\w./:+-]*$/;

export interface TensorPlace extends TensorInfo {
  /** In bytes from the start of the file. */
  readonly begin: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  readonly places: Map<string, TensorPlace>;
  readonly metadata: Record<string, string>;
}

/** The header's length in bytes, from the first bytes of a file; throws `FileError` where it cannot be. */
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
    throw new FileError('header', `${length} bytes, the limit is ${limits.maxHeaderBytes}`);
  }
  const headerBytes = Number(length);
  if (LENGTH_BYTES + headerBytes > fileBytes) {
    throw new FileError('header', `${headerBytes} bytes in a file of ${fileBytes}`);
  }
  return headerBytes;
}

/** Checks the header's text and that its tensors fill the file with neither hole, overlap nor rest. */
export function parseHeader(
  header: Uint8Array,
  fileBytes: number,
  limits: SafetensorsLimits,
): SafetensorsHeader {
  if (header[0] !== 0x7b) throw new FileError('header', 'does not start with "{"');
  const { entries, metadata } = parseHeaderJson(decodeUtf8(header), limits.maxTensors);
  const dataStart = LENGTH_BYTES + header.length;
  const places = new Map<string, TensorPlace>();
  for (const [name, { dtype, shape, offsets }] of entries) {
    checkName(name);
    const byteLength = tensorBytes(name, dtype, shape, limits);
    const [begin, end] = offsets;
    if (offsets.length !== 2 || begin === undefined || end === undefined || end < begin) {
      throw new FileError(name, 'data_offsets is not [begin, end]');
    }
    if (end - begin !== byteLength) {
      throw new FileError(name, `${end - begin} bytes of data, its shape needs ${byteLength}`);
    }
    places.set(name, { dtype: dtype as DType, shape, begin: dataStart + begin, byteLength });
  }
  checkCoverage(places, dataStart, fileBytes);
  return { places, metadata };
}

/** The bytes in front of the data: length, JSON, and spaces so that the data starts at a multiple of 8. */
export function serializeHeader(
  infos: Iterable<readonly [string, TensorInfo]>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const json: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) json['__metadata__'] = metadata;
  let offset = 0;
  for (const [name, { dtype, shape }] of infos) {
    checkName(name);
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

/** The order of data in a file: wide types first, so that each tensor is aligned, then by name. */
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

function checkName(name: string): void {
  const isPlain = name.length <= MAX_NAME_LENGTH && NAME_PATTERN.test(name);
  if (!isPlain || name.includes('..') || name.includes('__proto__')) {
    throw new FileError(shorten(name), 'is not a tensor name');
  }
}

function tensorBytes(
  name: string,
  dtype: string,
  shape: readonly number[],
  limits: SafetensorsLimits,
): number {
  if (!limits.dtypes.includes(dtype as DType)) {
    throw new FileError(name, `dtype ${shorten(dtype)} is not one of ${limits.dtypes.join(', ')}`);
  }
  if (shape.length === 0 || shape.includes(0)) throw new FileError(name, 'has no extent');
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype as DType];
  if (!Number.isSafeInteger(bytes)) throw new FileError(name, `shape [${shape}] is too large`);
  return bytes;
}

function checkCoverage(
  places: Map<string, TensorPlace>,
  dataStart: number,
  fileBytes: number,
): void {
  let offset = dataStart;
  const inOrder = [...places].sort(([, a], [, b]) => a.begin - b.begin);
  for (const [name, { begin, byteLength }] of inOrder) {
    if (begin > offset) throw new FileError(name, `a hole of ${begin - offset} bytes before it`);
    if (begin < offset) throw new FileError(name, 'its data overlaps another tensor');
    offset = begin + byteLength;
  }
  if (offset > fileBytes) {
    throw new FileError('file', `${fileBytes} bytes, its header needs ${offset}`);
  }
  if (offset < fileBytes) throw new FileError('file', `${fileBytes - offset} bytes after the data`);
}
