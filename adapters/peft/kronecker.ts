// LoKr's tensors of a linear as LoRA's two. The rank of a Kronecker product is the product of both ranks:
// (L1 R1) ⊗ (L2 R2) = (L1 ⊗ L2) (R1 ⊗ R2) = B A. peft stores each of the two matrices as a product, or whole. A whole one is itself
// times the unit matrix, with the shorter of its sides as its rank.
import type { Tensor } from '../../src/common/tensor.ts';
import { type FactorKind, type LinearFactors, type Shaped, valuesOf } from './factors.ts';
import { invalidAdapter } from './refusal.ts';

/** The names of one of the two matrices: whole, or as a product. */
interface Names {
  readonly whole: string;
  readonly left: string;
  readonly right: string;
}

const [W1, W2] = ['lokr_w1', 'lokr_w2'].map(
  (whole): Names => ({ whole, left: `${whole}_a`, right: `${whole}_b` }),
) as [Names, Names];

/** LoKr: with W1 [a, c] and W2 [b, d], the update is [a b, c d]. */
export const KRONECKER: FactorKind = {
  peftType: 'LOKR',
  label: 'LoKr',
  endings: [W1, W2].flatMap(({ whole, left, right }) => [whole, left, right]),

  measure(factors) {
    const [one, other] = [measureOne(factors, W1), measureOne(factors, W2)];
    const factorRank = one.factorRank ?? other.factorRank;
    if (other.factorRank !== undefined) factors.sides(W2.left, other.rows, factorRank);
    return {
      rank: one.rank * other.rank,
      inFeatures: one.columns * other.columns,
      outFeatures: one.rows * other.rows,
      factorRank,
    };
  },

  multiply(factors) {
    const [one, other] = [factorize(factors, W1), factorize(factors, W2)];
    return { a: kronecker(one.right, other.right), b: kronecker(one.left, other.left) };
  },
};

function measureOne(factors: LinearFactors<Shaped>, { whole, left, right }: Names) {
  if (!factors.has(left) && !factors.has(right)) {
    const [rows, columns] = factors.sides(whole);
    return { rows, columns, rank: Math.min(rows, columns), factorRank: undefined };
  }
  if (factors.has(whole)) throw invalidAdapter(factors.nameOf(whole), `does not go with ${left}`);
  const [rows, rank] = factors.sides(left);
  const [, columns] = factors.sides(right, rank);
  return { rows, columns, rank, factorRank: rank };
}

interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

/** Returns a matrix as the product of two. */
function factorize(
  factors: LinearFactors<Tensor>,
  names: Names,
): { readonly left: Matrix; readonly right: Matrix } {
  const { rows, columns, rank, factorRank } = measureOne(factors, names);
  const matrix = (name: string, [rows, columns]: readonly [number, number]): Matrix => ({
    ...{ rows, columns },
    values: valuesOf(factors, name),
  });
  if (factorRank !== undefined)
    return {
      left: matrix(names.left, [rows, rank]),
      right: matrix(names.right, [rank, columns]),
    };
  const whole = matrix(names.whole, [rows, columns]);
  return rows < columns ? { left: unit(rank), right: whole } : { left: whole, right: unit(rank) };
}

function unit(size: number): Matrix {
  const values = new Float32Array(size * size);
  for (let i = 0; i < size; i++) values[i * size + i] = 1;
  return { rows: size, columns: size, values };
}

/** Returns the values of the Kronecker product. */
function kronecker(one: Matrix, other: Matrix): Float32Array {
  const product = new Float32Array(one.values.length * other.values.length);
  let at = 0;
  for (let i = 0; i < one.rows; i++)
    for (let k = 0; k < other.rows; k++)
      for (let j = 0; j < one.columns; j++) {
        const factor = one.values[i * one.columns + j]!;
        for (let l = 0; l < other.columns; l++)
          product[at++] = factor * other.values[k * other.columns + l]!;
      }
  return product;
}
