// Writes GGUF files (version 3) for llama.cpp: metadata first, then the tensors one at a time. Only what the benchmark
// needs. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import { closeSync, openSync, writeSync } from 'node:fs';
import {
  DTYPE_BYTES,
  elementCount,
  type Tensor,
  type TensorInfo,
} from '../../src/common/tensor.ts';

/** A value of the metadata: a text, an unsigned integer, a float, or a list of texts or integers. */
export type GgufValue = string | number | { float: number } | readonly string[] | Int32Array;

/** A tensor to write; `dtype` is F32, F16 or BF16. */
export interface GgufTensor {
  readonly name: string;
  readonly info: TensorInfo;
  read(): Tensor;
}

const ALIGNMENT = 32;
const TENSOR_TYPES: Readonly<Record<string, number>> = { F32: 0, F16: 1, BF16: 30 };
const VALUE = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const;

/** Writes the file. Has one tensor in memory at a time. */
export function writeGguf(
  file: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): void {
  const entries = Object.entries(metadata);
  const head = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(entries.length)];
  for (const [key, value] of entries) head.push(text(key), typed(value));
  let offset = 0;
  for (const { name, info } of tensors) {
    const { dtype, shape } = info;
    // Dimensions are written innermost first.
    const dims = [...shape].reverse().map(u64);
    head.push(text(name), u32(dims.length), ...dims, u32(TENSOR_TYPES[dtype]!), u64(offset));
    offset += paddedSize(elementCount(shape) * DTYPE_BYTES[dtype]);
  }
  const fd = openSync(file, 'w');
  try {
    writePadded(fd, Buffer.concat(head));
    for (const tensor of tensors) writePadded(fd, tensor.read().data);
  } finally {
    closeSync(fd);
  }
}

function writePadded(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  writeSync(fd, new Uint8Array(paddedSize(bytes.length) - bytes.length));
}

function paddedSize(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

function typed(value: GgufValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([u32(VALUE.string), text(value)]);
  if (typeof value === 'number') return Buffer.concat([u32(VALUE.uint32), u32(value)]);

  if (value instanceof Int32Array) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return Buffer.concat([u32(VALUE.array), u32(VALUE.int32), u64(value.length), bytes]);
  }
  if ('float' in value) return Buffer.concat([u32(VALUE.float32), f32(value.float)]);
  const texts = value.map(text);
  return Buffer.concat([u32(VALUE.array), u32(VALUE.string), u64(texts.length), ...texts]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
