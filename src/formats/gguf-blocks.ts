// Dequantizes the block formats of GGUF tensors. 32 weights share a half-precision scale and, in Q4_1 and Q5_1, a minimum. The
// results are exact, because the product of a scale and a small integer needs no rounding.
import { type DType, toFloat32 } from '../common/tensor.ts';
import { K_FORMATS, SUPER_BLOCK, type SuperBlockFormat } from './gguf-k-blocks.ts';

/** A format of tensor data. */
export interface BlockFormat {
  readonly name: string;
  /** The number of weights in a block. Rows consist of whole blocks. */
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Converts `count` weights, a whole number of blocks, to fp32. */
  dequantize(bytes: Uint8Array, count: number): Float32Array;
}

/** ggml's type number → format. */
export const BLOCK_FORMATS: Readonly<Record<number, BlockFormat>> = {
  0: plain('F32', 4),
  1: plain('F16', 2),
  2: { name: 'Q4_0', blockSize: 32, blockBytes: 18, dequantize: dequantizeQ4_0 },
  3: { name: 'Q4_1', blockSize: 32, blockBytes: 20, dequantize: dequantizeQ4_1 },
  6: { name: 'Q5_0', blockSize: 32, blockBytes: 22, dequantize: dequantizeQ5_0 },
  7: { name: 'Q5_1', blockSize: 32, blockBytes: 24, dequantize: dequantizeQ5_1 },
  8: { name: 'Q8_0', blockSize: 32, blockBytes: 34, dequantize: dequantizeQ8_0 },
  ...mapFormats(K_FORMATS),
  30: plain('BF16', 2),
};

/** All half-precision values by their bits. */
const HALF = toFloat32({
  dtype: 'F16',
  shape: [65_536],
  data: new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer),
});

function plain(name: DType, blockBytes: number): BlockFormat {
  return {
    name,
    blockSize: 1,
    blockBytes,
    dequantize: (data, count) => toFloat32({ dtype: name, shape: [count], data }),
  };
}

function mapFormats(formats: Readonly<Record<number, SuperBlockFormat>>) {
  const entries = Object.entries(formats).map(([type, { name, blockBytes, dequantize }]) => {
    const format: BlockFormat = {
      name,
      blockSize: SUPER_BLOCK,
      blockBytes,
      dequantize(bytes, count) {
        const values = new Float32Array(count);
        for (let at = 0, out = 0; out < count; at += blockBytes, out += SUPER_BLOCK) {
          const block = bytes.subarray(at, at + blockBytes);
          dequantize(block, values.subarray(out, out + SUPER_BLOCK), halfAt);
        }
        return values;
      },
    };
    return [type, format] as const;
  });
  return Object.fromEntries(entries);
}

/** A block is d and 16 bytes. Byte i holds weights i (low nibble) and 16 + i (high). A weight is (q - 8) * d. */
function dequantizeQ4_0(bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  for (let at = 0, out = 0; out < count; at += 18, out += 32) {
    const scale = halfAt(bytes, at);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]!;
      values[out + i] = ((pair & 15) - 8) * scale;
      values[out + 16 + i] = ((pair >> 4) - 8) * scale;
    }
  }
  return values;
}

/** A block is d, m and 16 bytes as in Q4_0. A weight is q * d + m. */
function dequantizeQ4_1(bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  for (let at = 0, out = 0; out < count; at += 20, out += 32) {
    const scale = halfAt(bytes, at);
    const minimum = halfAt(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 4 + i]!;
      values[out + i] = (pair & 15) * scale + minimum;
      values[out + 16 + i] = (pair >> 4) * scale + minimum;
    }
  }
  return values;
}

/** A block is d, 32 fifth bits and 16 bytes as in Q4_0. A weight is (q - 16) * d. */
function dequantizeQ5_0(bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  for (let at = 0, out = 0; out < count; at += 22, out += 32) {
    const scale = halfAt(bytes, at);
    for (let i = 0; i < 32; i++) values[out + i] = (fiveBits(bytes, at + 2, i) - 16) * scale;
  }
  return values;
}

/** A block is d, m, 32 fifth bits and 16 bytes as in Q4_0. A weight is q * d + m. */
function dequantizeQ5_1(bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  for (let at = 0, out = 0; out < count; at += 24, out += 32) {
    const scale = halfAt(bytes, at);
    const minimum = halfAt(bytes, at + 2);
    for (let i = 0; i < 32; i++) values[out + i] = fiveBits(bytes, at + 4, i) * scale + minimum;
  }
  return values;
}

/** Weight `i` of 4 bytes with fifth bits and 16 bytes with the other four. */
function fiveBits(bytes: Uint8Array, at: number, i: number): number {
  const low = bytes[at + 4 + (i % 16)]! >> (i < 16 ? 0 : 4);
  const high = bytes[at + (i >> 3)]! >> (i & 7);
  return (low & 15) | ((high & 1) << 4);
}

/** A block is d and 32 signed bytes. A weight is q * d. */
function dequantizeQ8_0(bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  for (let at = 0, out = 0; out < count; at += 34, out += 32) {
    const scale = halfAt(bytes, at);
    for (let i = 0; i < 32; i++) values[out + i] = ((bytes[at + 2 + i]! << 24) >> 24) * scale;
  }
  return values;
}

function halfAt(bytes: Uint8Array, at: number): number {
  return HALF[bytes[at]! | (bytes[at + 1]! << 8)]!;
}
