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
  const bit = (at: number, shift: number) => (block[at]! >> shift) & 1;
  const twoBits = (from: number) => {
    const byte = block[from + 32 * Math.floor(inBlock / 128) + (inBlock % 32)]!;
    return (byte >> (2 * (Math.floor(inBlock / 32) % 4))) & 3;
  };
  switch (type) {
    case 0:
      return toFloat32({ dtype: 'F32', shape: [1], data: block.subarray(0, 4) })[0]!;
    case 1:
      return half(0);
    case 2:
      return Math.fround((nibble(2) - 8) * half(0));
    case 3:
      return Math.fround(nibble(4) * half(0) + half(2));
    case 6:
      return Math.fround((nibble(6) + 16 * bit(2 + (inBlock >> 3), inBlock & 7) - 16) * half(0));
    case 7:
      return Math.fround(
        (nibble(8) + 16 * bit(4 + (inBlock >> 3), inBlock & 7)) * half(0) + half(2),
      );
    case 10: {
      const scale = block[Math.floor(inBlock / 16)]!;
      return Math.fround(half(80) * (scale & 15) * twoBits(16) - half(82) * (scale >> 4));
    }
    case 11: {
      const group = Math.floor(inBlock / 16);
      const low = group < 8 ? block[96 + group]! & 15 : block[88 + group]! >> 4;
      const high = (block[104 + (group % 4)]! >> (2 * Math.floor(group / 4))) & 3;
      const third = bit(inBlock % 32, Math.floor(inBlock / 32));
      return Math.fround(half(108) * (low + 16 * high - 32) * (twoBits(32) + 4 * third - 4));
    }
    case 12:
    case 13: {
      const group = Math.floor(inBlock / 32);
      const s = (at: number) => block[4 + at]!;
      const [scale, minimum] =
        group < 4
          ? [s(group) % 64, s(group + 4) % 64]
          : [
              (s(group + 4) % 16) + 16 * (s(group - 4) >> 6),
              (s(group + 4) >> 4) + 16 * (s(group) >> 6),
            ];
      const codes = block[(type === 12 ? 16 : 48) + 32 * Math.floor(group / 2) + (inBlock % 32)]!;
      const code = group % 2 === 0 ? codes % 16 : codes >> 4;
      const fifth = type === 13 ? bit(16 + (inBlock % 32), group) : 0;
      return Math.fround(half(0) * scale * (code + 16 * fifth) - half(2) * minimum);
    }
    case 14: {
      const [upper, at] = [Math.floor(inBlock / 128), inBlock % 128];
      const codes = block[64 * upper + (at % 64)]!;
      const code = (at < 64 ? codes % 16 : codes >> 4) + 16 * twoBits(128) - 32;
      const scale = new Int8Array(block.slice(192, 208).buffer)[Math.floor(inBlock / 16)]!;
      return Math.fround(half(208) * scale * code);
    }
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
  6: { weights: 32, bytes: 22, highBytes: [1] },
  7: { weights: 32, bytes: 24, highBytes: [1, 3] },
  8: { weights: 32, bytes: 34, highBytes: [1] },
  10: { weights: 256, bytes: 84, highBytes: [81, 83] },
  11: { weights: 256, bytes: 110, highBytes: [109] },
  12: { weights: 256, bytes: 144, highBytes: [1, 3] },
  13: { weights: 256, bytes: 176, highBytes: [1, 3] },
  14: { weights: 256, bytes: 210, highBytes: [209] },
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
