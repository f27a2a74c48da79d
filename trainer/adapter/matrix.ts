// Small dense linear algebra: matrices as rows of float values.

import { EMBEDDING, tensorName } from '../../adapters/peft/tensor-names.ts';
import type { LoraPair } from '../../adapters/peft/weights.ts';
import { elementCount, fromFloat32, type Matrix, type Tensor } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import { normal, seededRandom, streamSeed } from '../random.ts';
import type { LoraSettings } from '../types.ts';
import { adapterTensors } from './tensors.ts';

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

/**
 * Makes vectors orthonormal in place, one after the other. A vector that depends on earlier ones becomes zero.
 * @param done the number of vectors that are already orthonormal
 */
export function orthonormalize(vectors: readonly Float64Array[], done = 0): void {
  for (let i = done; i < vectors.length; i++) {
    const vector = vectors[i]!;
    const before = norm(vector);
    // Rounding leaves components along earlier vectors, which the second pass removes.
    for (let pass = 0; pass < 2; pass++) {
      for (let k = 0; k < i; k++) add(vector, vectors[k]!, -dot(vector, vectors[k]!));
    }
    const length = norm(vector);
    const scale = length > DEPENDENT * before ? 1 / length : 0;
    for (let k = 0; k < vector.length; k++) vector[k]! *= scale;
  }
}

/** If less than this share of a vector's length remains, the rest is rounding errors. */
const DEPENDENT = 1e-10;

/** Returns the inner product of two vectors. */
export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function norm(a: Float64Array): number {
  return Math.sqrt(dot(a, a));
}

/** to += factor * from */
export function add(to: Float64Array, from: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i]! += factor * from[i]!;
}

/** A sweep of Jacobi's method squares the error, so a few are enough. */
const MAX_SWEEPS = 30;

/**
 * Returns the eigenvalues of a symmetric matrix, the largest first, each with its unit eigenvector. Jacobi's method: rotates
 * pairs of axes until the matrix is diagonal.
 */
export function symmetricEigen(
  symmetric: readonly Float64Array[],
): { readonly value: number; readonly vector: Float64Array }[] {
  const size = symmetric.length;
  const matrix = symmetric.map((row) => row.slice());
  const vectors = matrix.map((_, i) => new Float64Array(size).map((_, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < MAX_SWEEPS && !isDiagonal(matrix); sweep++) {
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) rotate(matrix, vectors, [p, q]);
    }
  }
  return vectors
    .map((vector, i) => ({ value: matrix[i]![i]!, vector }))
    .sort((one, other) => other.value - one.value);
}

/** Whether the off-diagonal elements are no larger than rounding errors of the diagonal. */
function isDiagonal(matrix: readonly Float64Array[]): boolean {
  let [diagonal, all] = [0, 0];
  for (let i = 0; i < matrix.length; i++) {
    diagonal += matrix[i]![i]! ** 2;
    all += dot(matrix[i]!, matrix[i]!);
  }
  return all - diagonal <= NEGLIGIBLE ** 2 * diagonal;
}

const NEGLIGIBLE = 1e-7;

/** Rotates two axes so that the matrix has a zero at [p, q]. */
function rotate(
  matrix: readonly Float64Array[],
  vectors: readonly Float64Array[],
  [p, q]: readonly [number, number],
): void {
  const value = matrix[p]![q]!;
  if (value === 0) return;
  const theta = (matrix[q]![q]! - matrix[p]![p]!) / (2 * value);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  rotateRows(matrix[p]!, matrix[q]!, c, s);
  for (let k = 0; k < matrix.length; k++) {
    const row = matrix[k]!;
    const x = row[p]!;
    const y = row[q]!;
    row[p] = c * x - s * y;
    row[q] = s * x + c * y;
  }
  rotateRows(vectors[p]!, vectors[q]!, c, s);
}

function rotateRows(p: Float64Array, q: Float64Array, c: number, s: number): void {
  for (let k = 0; k < p.length; k++) {
    const x = p[k]!;
    const y = q[k]!;
    p[k] = c * x - s * y;
    q[k] = s * x + c * y;
  }
}

// Draws the initial weights of a new adapter.

const EMBEDDING_B = tensorName(EMBEDDING, 'embeddingB');

/**
 * Draws the weights of a new adapter that do not start from the base, as peft does: A [rank, in] uniform in ±1/sqrt(in)
 * (kaiming with a = sqrt 5), the embedding's B from the standard normal distribution, all others zero. A tensor's values depend
 * only on the seed and its name. Keys are PEFT's names.
 */
export function drawAdapter(
  settings: Omit<LoraSettings, 'init'>,
  model: DecoderConfig,
  seed: number,
): Map<string, Tensor> {
  const drawn = new Set(Array.from(settings.modules.keys(), (module) => loraNames(module).a));
  const tensors = new Map<string, Tensor>();
  for (const { name, shape, neutral } of adapterTensors(model, settings)) {
    if (neutral.kind !== 'zeros') continue;
    const values = new Float32Array(elementCount(shape));
    if (drawn.has(name)) fillUniform(values, 1 / Math.sqrt(shape[1]!), streamSeed(seed, name));
    if (name === EMBEDDING_B) fillNormal(values, streamSeed(seed, name));
    tensors.set(name, fromFloat32(values, shape, 'F32'));
  }
  return tensors;
}

function fillUniform(values: Float32Array, bound: number, seed: number): void {
  const random = seededRandom(seed);
  for (let i = 0; i < values.length; i++) values[i] = (2 * random() - 1) * bound;
}

function fillNormal(values: Float32Array, seed: number): void {
  const random = seededRandom(seed);
  for (let i = 0; i < values.length; i++) values[i] = normal(random);
}
