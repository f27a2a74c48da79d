// Dequantizes the block formats of GGUF tensors. In a plain block, 32 weights share a half-precision scale and, in Q4_1 and
// Q5_1, a minimum. The results are exact, because the product of a scale and a small integer needs no rounding.
//
// K-quants are super-blocks of 256 weights in groups of 16 or 32. Each group has a small integer scale and, in some formats, a
// minimum. The super-block has half-precision factors for the scales and the minima. Only the last subtraction rounds.
import { type DType, decodeFloats, toFloat32 } from '../common/tensor.ts';

/** The weights of a plain block. */
const BLOCK = 32;
/** The weights of a super-block. */
const SUPER_BLOCK = 256;
/** Weights that are packed side by side in the same bytes: 4 x 32 with 2 bits each, or 2 x 32 with 4 bits each. */
const RUN = 32;

/** Converts the block at `at` to weights from `out` on. Slices would take as long as the conversion of a small block. */
type Dequantize = (bytes: Uint8Array, at: number, into: Float32Array, out: number) => void;

/** 16 bytes (scale in the low nibble, minimum in the high one), 64 bytes of 2-bit codes, d and dmin. */
function dequantizeQ2(block: Uint8Array, into: Float32Array): void {
  const [d, dmin] = [halfAt(block, 80), halfAt(block, 82)];
  for (let i = 0; i < SUPER_BLOCK; i++) {
    const scale = block[i >> 4]!;
    const code = (block[16 + byteOfTwoBits(i)]! >> shiftOfTwoBits(i)) & 3;
    into[i] = d * (scale & 15) * code - dmin * (scale >> 4);
  }
}

/** 32 bytes of third bits, 64 bytes of 2-bit codes, 16 scales of 6 bits in 12 bytes, and d. */
function dequantizeQ3(block: Uint8Array, into: Float32Array): void {
  const d = halfAt(block, 108);
  const scales = Float32Array.from({ length: 16 }, (_, group) => {
    const low = (block[96 + (group & 7)]! >> (group < 8 ? 0 : 4)) & 15;
    const high = (block[104 + (group & 3)]! >> (2 * (group >> 2))) & 3;
    return d * ((low | (high << 4)) - 32);
  });
  for (let i = 0; i < SUPER_BLOCK; i++) {
    const code = (block[32 + byteOfTwoBits(i)]! >> shiftOfTwoBits(i)) & 3;
    const hasThirdBit = (block[i % RUN]! >> Math.floor(i / RUN)) & 1;
    into[i] = scales[i >> 4]! * (hasThirdBit ? code : code - 4);
  }
}

/** d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, and 128 bytes of 4-bit codes. */
function dequantizeQ4(block: Uint8Array, into: Float32Array): void {
  for (let group = 0; group < SUPER_BLOCK / RUN; group++) {
    const step = halfAt(block, 0) * scaleOf(block, group);
    const minimum = halfAt(block, 2) * minimumOf(block, group);
    const [from, shift] = [16 + (group >> 1) * RUN, 4 * (group & 1)];
    for (let i = 0; i < RUN; i++)
      into[group * RUN + i] = step * ((block[from + i]! >> shift) & 15) - minimum;
  }
}

/** Like Q4_K, with 32 bytes of fifth bits before the codes. */
function dequantizeQ5(block: Uint8Array, into: Float32Array): void {
  for (let group = 0; group < SUPER_BLOCK / RUN; group++) {
    const step = halfAt(block, 0) * scaleOf(block, group);
    const minimum = halfAt(block, 2) * minimumOf(block, group);
    const [from, shift] = [48 + (group >> 1) * RUN, 4 * (group & 1)];
    for (let i = 0; i < RUN; i++) {
      const fifth = (block[16 + i]! >> group) & 1;
      into[group * RUN + i] = step * (((block[from + i]! >> shift) & 15) | (fifth << 4)) - minimum;
    }
  }
}

/** The first four scales have one byte each. The others have their high bits in the top bits of those bytes. */
function scaleOf(block: Uint8Array, group: number): number {
  if (group < 4) return block[4 + group]! & 63;
  return (block[8 + group]! & 15) | ((block[group]! >> 6) << 4);
}

/** As `scaleOf`, four bytes further on. */
function minimumOf(block: Uint8Array, group: number): number {
  if (group < 4) return block[8 + group]! & 63;
  return (block[8 + group]! >> 4) | ((block[4 + group]! >> 6) << 4);
}

/** 128 bytes of low nibbles, 64 bytes of 2 high bits, 16 signed scales, and d. */
function dequantizeQ6(block: Uint8Array, into: Float32Array): void {
  const d = halfAt(block, 208);
  for (let i = 0; i < SUPER_BLOCK; i++) {
    const inHalf = i % 128;
    const low = block[(i >> 7) * 64 + (inHalf % 64)]! >> (inHalf < 64 ? 0 : 4);
    const high = block[128 + byteOfTwoBits(i)]! >> shiftOfTwoBits(i);
    const scale = (block[192 + (i >> 4)]! << 24) >> 24;
    into[i] = d * scale * (((low & 15) | ((high & 3) << 4)) - 32);
  }
}

/** 2-bit codes: half of a super-block is 32 bytes, and its four runs of 32 weights use successive bits of these bytes. */
function byteOfTwoBits(i: number): number {
  return (i >> 7) * RUN + (i % RUN);
}

function shiftOfTwoBits(i: number): number {
  return 2 * ((i >> 5) & 3);
}

/** A format of tensor data. */
export interface BlockFormat {
  readonly name: string;
  /** The number of weights in a block. Rows consist of whole blocks. */
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Converts as many weights as `into` has elements, a whole number of blocks, to fp32. */
  dequantize(bytes: Uint8Array, into: Float32Array): void;
}

/** ggml's type number → format. */
export const BLOCK_FORMATS: Readonly<Record<number, BlockFormat>> = {
  0: plain('F32', 4),
  1: plain('F16', 2),
  2: blocks('Q4_0', 18, dequantizeQ4_0),
  3: blocks('Q4_1', 20, dequantizeQ4_1),
  6: blocks('Q5_0', 22, dequantizeQ5_0),
  7: blocks('Q5_1', 24, dequantizeQ5_1),
  8: blocks('Q8_0', 34, dequantizeQ8_0),
  10: superBlocks('Q2_K', 84, dequantizeQ2),
  11: superBlocks('Q3_K', 110, dequantizeQ3),
  12: superBlocks('Q4_K', 144, dequantizeQ4),
  13: superBlocks('Q5_K', 176, dequantizeQ5),
  14: superBlocks('Q6_K', 210, dequantizeQ6),
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
    dequantize: (data, into) => decodeFloats({ dtype: name, shape: [into.length], data }, into),
  };
}

function blocks(
  name: string,
  blockBytes: number,
  dequantize: Dequantize,
  blockSize = BLOCK,
): BlockFormat {
  return {
    name,
    blockSize,
    blockBytes,
    dequantize(bytes, into) {
      for (let at = 0, out = 0; out < into.length; at += blockBytes, out += blockSize) {
        dequantize(bytes, at, into, out);
      }
    },
  };
}

function superBlocks(
  name: string,
  blockBytes: number,
  dequantize: (block: Uint8Array, into: Float32Array) => void,
): BlockFormat {
  const convert: Dequantize = (bytes, at, into, out) => {
    dequantize(bytes.subarray(at, at + blockBytes), into.subarray(out, out + SUPER_BLOCK));
  };
  return blocks(name, blockBytes, convert, SUPER_BLOCK);
}

/** d and 16 bytes. Byte i holds weights i (low nibble) and 16 + i (high). A weight is (q - 8) * d. */
function dequantizeQ4_0(bytes: Uint8Array, at: number, into: Float32Array, out: number): void {
  const scale = halfAt(bytes, at);
  for (let i = 0; i < BLOCK; i++) into[out + i] = (fourBits(bytes, at + 2, i) - 8) * scale;
}

/** d, m and 16 bytes as in Q4_0. A weight is q * d + m. */
function dequantizeQ4_1(bytes: Uint8Array, at: number, into: Float32Array, out: number): void {
  const [scale, minimum] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
  for (let i = 0; i < BLOCK; i++) into[out + i] = fourBits(bytes, at + 4, i) * scale + minimum;
}

/** d, 32 fifth bits and 16 bytes as in Q4_0. A weight is (q - 16) * d. */
function dequantizeQ5_0(bytes: Uint8Array, at: number, into: Float32Array, out: number): void {
  const scale = halfAt(bytes, at);
  for (let i = 0; i < BLOCK; i++) into[out + i] = (fiveBits(bytes, at + 2, i) - 16) * scale;
}

/** d, m, 32 fifth bits and 16 bytes as in Q4_0. A weight is q * d + m. */
function dequantizeQ5_1(bytes: Uint8Array, at: number, into: Float32Array, out: number): void {
  const [scale, minimum] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
  for (let i = 0; i < BLOCK; i++) into[out + i] = fiveBits(bytes, at + 4, i) * scale + minimum;
}

/** d and 32 signed bytes. A weight is q * d. */
function dequantizeQ8_0(bytes: Uint8Array, at: number, into: Float32Array, out: number): void {
  const scale = halfAt(bytes, at);
  for (let i = 0; i < BLOCK; i++) into[out + i] = ((bytes[at + 2 + i]! << 24) >> 24) * scale;
}

/** Returns code `i` of 16 bytes. */
function fourBits(bytes: Uint8Array, at: number, i: number): number {
  return (bytes[at + (i % 16)]! >> (i < 16 ? 0 : 4)) & 15;
}

/** Returns code `i` of 4 bytes of fifth bits and 16 bytes with the other four bits. */
function fiveBits(bytes: Uint8Array, at: number, i: number): number {
  const high = bytes[at + (i >> 3)]! >> (i & 7);
  return fourBits(bytes, at + 4, i) | ((high & 1) << 4);
}

function halfAt(bytes: Uint8Array, at: number): number {
  return HALF[bytes[at]! | (bytes[at + 1]! << 8)]!;
}
