// NF4 quantization: 4-bit codes for sixteen values, and one scale per 64 weights. The bytes equal the output of bitsandbytes
// 0.50. Blocks run over the flattened row-major matrix, so a block can span rows. Pure: arrays in, arrays out.
import { assert } from '../common/assert.ts';

/** The 4-bit normal floats in ascending order. Code 7 is 0 (QLoRA, arXiv 2305.14314, appendix E). */
export const NF4_CODEBOOK = Float32Array.of(
  -1.0,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0.0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1.0,
);

/** The number of weights that share a scale. */
export const NF4_BLOCK = 64;

/** A quantized matrix. */
interface Nf4 {
  /** [ceil(count / 2)]: two codes per byte, the first in the high nibble. An odd count ends with code 7. */
  readonly packed: Uint8Array;
  /** [ceil(count / 64)]: the largest magnitude of each block. The last block can be shorter. */
  readonly absmax: Float32Array;
}

const ZERO_CODE = 7;
/** For smaller values, bitsandbytes uses the reciprocal of this value, which is finite. */
const MIN_ABSMAX = Math.fround(1e-38);

/** The fp32 midpoints between neighboring values, and a sentinel. A value on a midpoint gets the lower code. */
const UPPER_BOUNDS = Float32Array.from(NF4_CODEBOOK, (value, code) =>
  code < 15 ? Math.fround(value + NF4_CODEBOOK[code + 1]!) / 2 : Number.POSITIVE_INFINITY,
);

/** Cells per unit of [-1, 1]. No cell contains two midpoints, because the closest are 0.08 apart. */
const CELLS = 64;
/** The code at the lower edge of each cell. One comparison with the code's upper bound decides between it and the next code. */
const CODE_OF_CELL = Uint8Array.from({ length: 2 * CELLS + 1 }, (_, cell) => {
  const edge = cell / CELLS - 1;
  return UPPER_BOUNDS.findIndex((bound) => edge <= bound);
});

/** [256, 2]: the unscaled values of the two codes of a byte. */
const VALUES_OF_BYTE = Float32Array.from(
  { length: 512 },
  (_, i) => NF4_CODEBOOK[i % 2 === 0 ? i >> 5 : (i >> 1) & 15]!,
);

/** Quantizes a flattened matrix. */
export function quantizeNf4(values: Float32Array): Nf4 {
  const absmax = blockAbsmax(values);
  return { packed: packNf4(values, absmax), absmax };
}

/** Returns the largest magnitude of each block of 64, or +Infinity if the block contains a NaN or an infinity. */
export function blockAbsmax(values: Float32Array): Float32Array {
  const absmax = new Float32Array(Math.ceil(values.length / NF4_BLOCK));
  for (let block = 0, start = 0; block < absmax.length; block++, start += NF4_BLOCK) {
    absmax[block] = largestMagnitude(values, start, Math.min(start + NF4_BLOCK, values.length));
  }
  return absmax;
}

/** Returns the largest magnitude, or +Infinity if a value is not finite. */
export function largestMagnitude(values: Float32Array, from: number, to: number): number {
  let largest = 0;
  for (let i = from; i < to; i++) {
    const magnitude = Math.abs(values[i]!);
    // The comparison is negated because a NaN compares false with everything.
    if (!(magnitude <= largest)) largest = magnitude >= 0 ? magnitude : Number.POSITIVE_INFINITY;
  }
  return largest;
}

/** Packs the codes of a flattened matrix, two per byte. `absmax` contains the scales of its blocks. */
export function packNf4(values: Float32Array, absmax: Float32Array): Uint8Array {
  assert(absmax.length === Math.ceil(values.length / NF4_BLOCK), 'packNf4: one absmax per block');
  const packed = new Uint8Array(Math.ceil(values.length / 2));
  for (let block = 0, start = 0; block < absmax.length; block++, start += NF4_BLOCK) {
    const end = Math.min(start + NF4_BLOCK, values.length);
    const inverse = Math.fround(1 / Math.max(absmax[block]!, MIN_ABSMAX));
    let i = start;
    for (; i + 1 < end; i += 2) {
      packed[i >> 1] = (nf4Code(values[i]!, inverse) << 4) | nf4Code(values[i + 1]!, inverse);
    }
    if (i < end) packed[i >> 1] = (nf4Code(values[i]!, inverse) << 4) | ZERO_CODE;
  }
  return packed;
}

/** Restores `count` weights in fp32: the codebook value times the block's absmax. */
export function dequantizeNf4(
  packed: Uint8Array,
  absmax: Float32Array,
  count: number,
): Float32Array {
  const values = new Float32Array(count);
  dequantizeNf4Into(values, packed, absmax);
  return values;
}

/** Restores as many weights as `values` has elements, into `values`. */
export function dequantizeNf4Into(
  values: Float32Array,
  packed: Uint8Array,
  absmax: Float32Array,
): void {
  const count = values.length;
  assert(packed.length === Math.ceil(count / 2), 'dequantizeNf4: two codes per byte');
  assert(absmax.length === Math.ceil(count / NF4_BLOCK), 'dequantizeNf4: one absmax per block');
  for (let block = 0, start = 0; block < absmax.length; block++, start += NF4_BLOCK) {
    const end = Math.min(start + NF4_BLOCK, count);
    const scale = absmax[block]!;
    let i = start;
    for (; i + 1 < end; i += 2) {
      const pair = packed[i >> 1]! << 1;
      values[i] = VALUES_OF_BYTE[pair]! * scale;
      values[i + 1] = VALUES_OF_BYTE[pair + 1]! * scale;
    }
    if (i < end) values[i] = VALUES_OF_BYTE[packed[i >> 1]! << 1]! * scale;
  }
}

function nf4Code(value: number, inverse: number): number {
  const scaled = Math.min(1, Math.max(-1, Math.fround(value * inverse)));
  const code = CODE_OF_CELL[(scaled * CELLS + CELLS) | 0]!;
  return scaled > UPPER_BOUNDS[code]! ? code + 1 : code;
}
