// Writes small GGUF files (version 3) with metadata and tensors in ggml's block formats, and computes single values of
// the blocks as a reference.
import { toFloat32 } from '../../src/common/tensor.ts';

export interface GgufTensor {
  name: string;
  /** Row-major. */
  shape: readonly number[];
  type: number;
  data: Uint8Array;
}

export type GgufValue = string | number | boolean | { float: number };

const ALIGNMENT = 32;

export function writeGguf(metadata: Record<string, GgufValue>, tensors: GgufTensor[]): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length)];
  parts.push(u64(Object.keys(metadata).length));
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), ...typed(value));
  let offset = 0;
  const data: Uint8Array[] = [];
  for (const tensor of tensors) {
    const dims = [...tensor.shape].reverse();
    parts.push(
      text(tensor.name),
      u32(dims.length),
      ...dims.map(u64),
      u32(tensor.type),
      u64(offset),
    );
    const padded = pad(tensor.data);
    data.push(padded);
    offset += padded.length;
  }
  return new Uint8Array(Buffer.concat([pad(Buffer.concat(parts)), ...data]));
}

/** Returns random blocks with moderate scales, for a ggml type and a number of weights. */
export function randomBlocks(type: number, count: number, seed: number): Uint8Array {
  const size = BLOCK[type]!;
  const bytes = new Uint8Array((count / size.weights) * size.bytes);
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = state >>> 24;
  }
  // Floats get an exponent near 1, which avoids huge values and NaN.
  for (let at = 0; at < bytes.length; at += size.bytes) {
    for (const high of size.highBytes) bytes[at + high] = (bytes[at + high]! & 0x83) | 0x28;
  }
  return bytes;
}

/** Returns weight `i` of a tensor by ggml's definition of its type. */
export function plainWeight(type: number, data: Uint8Array, i: number): number {
  const size = BLOCK[type]!;
  const block = data.subarray(Math.floor(i / size.weights) * size.bytes);
  const inBlock = i % size.weights;
  const half = (at: number) =>
    toFloat32({ dtype: 'F16', shape: [1], data: block.subarray(at, at + 2) })[0]!;
  const nibble = (at: number) =>
    inBlock < 16 ? block[at + inBlock]! & 15 : block[at + inBlock - 16]! >> 4;
  switch (type) {
    case 0:
      return toFloat32({ dtype: 'F32', shape: [1], data: block.subarray(0, 4) })[0]!;
    case 1:
      return half(0);
    case 2:
      return Math.fround((nibble(2) - 8) * half(0));
    case 3:
      return Math.fround(nibble(4) * half(0) + half(2));
    case 8:
      return Math.fround(new Int8Array(block.slice(2, 34).buffer)[inBlock]! * half(0));
    case 30:
      return toFloat32({ dtype: 'BF16', shape: [1], data: block.subarray(0, 2) })[0]!;
    default:
      throw new Error(`type ${type}`);
  }
}

/** ggml type → weights and bytes of a block, and the offsets of the high bytes of its floats. */
const BLOCK: Record<number, { weights: number; bytes: number; highBytes: number[] }> = {
  0: { weights: 1, bytes: 4, highBytes: [3] },
  1: { weights: 1, bytes: 2, highBytes: [1] },
  2: { weights: 32, bytes: 18, highBytes: [1] },
  3: { weights: 32, bytes: 20, highBytes: [1, 3] },
  8: { weights: 32, bytes: 34, highBytes: [1] },
  30: { weights: 1, bytes: 2, highBytes: [1] },
};

function typed(value: GgufValue): Uint8Array[] {
  if (typeof value === 'string') return [u32(8), text(value)];
  if (typeof value === 'boolean') return [u32(7), Uint8Array.of(Number(value))];
  if (typeof value === 'number') return [u32(4), u32(value)];
  return [u32(6), new Uint8Array(Float32Array.of(value.float).buffer)];
}

function text(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

function pad(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(bytes.length / ALIGNMENT) * ALIGNMENT);
  padded.set(bytes);
  return padded;
}
