// Norms and products of weights.

import type { LoraPair } from '../../adapters/peft/weights.ts';
import type { Matrix } from '../../src/common/tensor.ts';

/** Returns the norm of each row: [rows]. Sums are in float64. */
export function normsOfRows({ values, rows, cols }: Matrix): Float32Array<ArrayBuffer> {
  return new Float32Array(rows).map((_, row) => {
    let sum = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) sum += values[i]! * values[i]!;
    return Math.sqrt(sum);
  });
}

/** W [rows, cols] += B A, with A [rank, cols] and B [rows, rank]. */
export function addProduct({ values, rows, cols }: Matrix, { rank, a, b }: LoraPair): void {
  const sum = new Float32Array(cols);
  for (let row = 0; row < rows; row++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const scale = b[row * rank + k]!;
      for (let i = 0, from = k * cols; i < cols; i++) sum[i]! += scale * a[from + i]!;
    }
    for (let i = 0, to = row * cols; i < cols; i++) values[to + i]! += sum[i]!;
  }
}
