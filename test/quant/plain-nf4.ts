// The plain twin of src/quant/nf4.ts: one element at a time, straight from the definition.
import { NF4_CODEBOOK } from '../../src/quant/nf4.ts';

/** Codes of a flattened matrix: the nearest of the 16 values to x * (1 / absmax) in fp32, the lower one on a tie. */
export function plainNf4Codes(values: Float32Array): number[] {
  return Array.from(values, (value, i) => {
    const start = i - (i % 64);
    const absmax = Math.max(...values.subarray(start, start + 64).map(Math.abs));
    const scaled = absmax === 0 ? 0 : Math.fround(value * Math.fround(1 / absmax));
    let code = 0;
    while (code < 15 && scaled > Math.fround(NF4_CODEBOOK[code]! + NF4_CODEBOOK[code + 1]!) / 2)
      code++;
    return code;
  });
}
