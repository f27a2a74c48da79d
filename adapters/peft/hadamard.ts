// LoHa's four tensors of a linear as LoRA's two. The elementwise product of two matrices of rank r has rank r² at most:
// (W1a W1b) * (W2a W2b) = B A. A has the products of each row of W1b with each row of W2b, and B the products of each column
// of W1a with each column of W2a. So LoHa of rank r is LoRA of rank r².
import { type FactorKind, valuesOf } from './factors.ts';

const [W1A, W1B, W2A, W2B] = ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'] as const;

/** LoHa: W1a and W2a are [out, r], W1b and W2b are [r, in]. */
export const HADAMARD: FactorKind = {
  peftType: 'LOHA',
  label: 'LoHa',
  endings: [W1A, W1B, W2A, W2B],

  measure(factors) {
    const [outFeatures, rank] = factors.sides(W1A);
    const [, inFeatures] = factors.sides(W1B, rank);
    factors.sides(W2A, outFeatures, rank);
    factors.sides(W2B, rank, inFeatures);
    return { rank: rank * rank, inFeatures, outFeatures, factorRank: rank };
  },

  multiply(factors) {
    const [outFeatures, rank] = factors.sides(W1A);
    const [, inFeatures] = factors.sides(W1B);
    const [w1a, w1b] = [valuesOf(factors, W1A), valuesOf(factors, W1B)];
    const [w2a, w2b] = [valuesOf(factors, W2A), valuesOf(factors, W2B)];
    const a = new Float32Array(rank * rank * inFeatures);
    const b = new Float32Array(outFeatures * rank * rank);
    for (let p = 0; p < rank; p++) {
      for (let q = 0; q < rank; q++) {
        const row = p * rank + q;
        for (let j = 0; j < inFeatures; j++) {
          a[row * inFeatures + j] = w1b[p * inFeatures + j]! * w2b[q * inFeatures + j]!;
        }
        for (let i = 0; i < outFeatures; i++) {
          b[i * rank * rank + row] = w1a[i * rank + p]! * w2a[i * rank + q]!;
        }
      }
    }
    return { a, b };
  },
};
