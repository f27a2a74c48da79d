// The reference for src/quant/nf4.ts: one element at a time, straight from the definition.
import { NF4_CODEBOOK } from '../../src/quant/nf4.ts';

const BLOCK = 64;

/** The largest magnitude of each block of the flattened values. */
export function plainAbsmax(values: Float32Array): Float32Array {
  const absmax = new Float32Array(Math.ceil(values.length / BLOCK));
  values.forEach((value, i) => {
    const block = Math.floor(i / BLOCK);
    absmax[block] = Math.max(absmax[block]!, Math.abs(value));
  });
  return absmax;
}

/**
 * The codes of a flattened matrix: the nearest of the 16 values to x * (1 / absmax) in fp32, the lower one on a tie.
 */
export function plainNf4Codes(values: Float32Array): number[] {
  const inverses = plainAbsmax(values).map((absmax) => (absmax === 0 ? 0 : 1 / absmax));
  return Array.from(values, (value, i) => {
    const scaled = Math.fround(value * inverses[Math.floor(i / BLOCK)]!);
    let code = 0;
    while (code < 15 && scaled > Math.fround(NF4_CODEBOOK[code]! + NF4_CODEBOOK[code + 1]!) / 2)
      code++;
    return code;
  });
}

/** Packs two codes per byte, the first in the high nibble. An odd count ends with code 7. */
export function plainPacked(values: Float32Array): Uint8Array {
  const codes = plainNf4Codes(values);
  return Uint8Array.from({ length: Math.ceil(codes.length / 2) }, (_, i) => {
    return (codes[2 * i]! << 4) | (codes[2 * i + 1] ?? 7);
  });
}
