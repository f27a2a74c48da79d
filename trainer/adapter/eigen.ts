// Eigenvectors of symmetric matrices in float64: of small matrices all, of large ones those of the largest eigenvalues.
import { seededRandom } from '../random.ts';

/** An eigenvalue and its unit eigenvector. */
export interface Eigenpair {
  readonly value: number;
  readonly vector: Float64Array;
}

/** Returns the products of a symmetric matrix with vectors. */
export type SymmetricProduct = (vectors: readonly Float64Array[]) => Float64Array[];

/** Vectors in the iterated space in addition to the wanted ones. They widen the gap that decides how fast it converges. */
const extraVectors = (count: number) => 8 + Math.ceil(Math.min(count, 64) / 2);
/** The largest residual of a wanted vector, as a share of the largest eigenvalue. */
const TOLERANCE = 1e-11;
/** Real weights need up to 12. After this many, the remaining vectors belong to nearly equal eigenvalues. */
const MAX_PASSES = 100;
/** More amplification would drown the smaller wanted components in rounding errors of the largest one. */
const MAX_CONTRAST = 1e8;
const MAX_DEGREE = 60;

/**
 * Returns the eigenpairs of the `count` largest eigenvalues of a positive semidefinite matrix, the largest first. Iterates a space
 * of vectors with Chebyshev polynomials of the matrix, which damp the eigenvalues below the space's smallest, until the residuals
 * vanish (Zhou, Saad, Tiago and Chelikowsky 2006).
 */
export function largestEigen(size: number, count: number, times: SymmetricProduct): Eigenpair[] {
  const random = seededRandom(0);
  const width = Math.min(size, count + extraVectors(count));
  let basis: Float64Array[] = Array.from({ length: width }, () =>
    new Float64Array(size).map(random),
  );
  for (let pass = 1; ; pass++) {
    orthonormalize(basis);
    const images = times(basis);
    const projected = images.map((one) => Float64Array.from(basis, (other) => dot(one, other)));
    const ritz = symmetricEigen(projected).map(({ value, vector: weights }) => ({
      value,
      vector: combine(basis, weights),
      image: combine(images, weights),
    }));
    const wanted = ritz.slice(0, count);
    const limit = TOLERANCE * ritz[0]!.value;
    if (pass === MAX_PASSES || wanted.every((pair) => residual(pair) <= limit)) return wanted;
    basis = filter(ritz, times);
  }
}

interface RitzPair extends Eigenpair {
  /** The product of the matrix with the vector. */
  readonly image: Float64Array;
}

function residual({ value, vector, image }: RitzPair): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += (image[i]! - value * vector[i]!) ** 2;
  return Math.sqrt(sum);
}

/** Applies the Chebyshev polynomial that is at most 1 between 0 and the smallest of the values. */
function filter(ritz: readonly RitzPair[], times: SymmetricProduct): Float64Array[] {
  const largest = ritz[0]!.value;
  const edge = Math.max(ritz.at(-1)!.value, largest / MAX_CONTRAST);
  const degree = Math.acosh(MAX_CONTRAST) / Math.acosh((2 * largest) / edge - 1);
  let before: Float64Array[] = ritz.map(({ vector }) => vector);
  let now: Float64Array[] = ritz.map(({ vector, image }) =>
    vector.map((v, i) => (2 / edge) * image[i]! - v),
  );
  for (let k = 2; k <= Math.min(degree, MAX_DEGREE); k++) {
    const next = times(now);
    for (const [v, product] of next.entries()) {
      const [x, y] = [now[v]!, before[v]!];
      for (let i = 0; i < x.length; i++) product[i] = (4 / edge) * product[i]! - 2 * x[i]! - y[i]!;
    }
    [before, now] = [now, next];
  }
  return now;
}

/** Returns the weighted sum of the vectors. */
function combine(vectors: readonly Float64Array[], weights: Float64Array): Float64Array {
  const sum = new Float64Array(vectors[0]!.length);
  for (const [i, vector] of vectors.entries()) add(sum, vector, weights[i]!);
  return sum;
}

/** Makes vectors orthonormal in place, one after the other. A vector that depends on earlier ones becomes zero. */
function orthonormalize(vectors: readonly Float64Array[]): void {
  for (let i = 0; i < vectors.length; i++) {
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

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function norm(a: Float64Array): number {
  return Math.sqrt(dot(a, a));
}

/** to += factor * from */
function add(to: Float64Array, from: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i]! += factor * from[i]!;
}

/** A sweep of Jacobi's method squares the error, so a few are enough. */
const MAX_SWEEPS = 30;

/**
 * Returns the eigenvalues of a symmetric matrix, the largest first, each with its unit eigenvector. Jacobi's method: rotates
 * pairs of axes until the matrix is diagonal.
 */
function symmetricEigen(symmetric: readonly Float64Array[]): Eigenpair[] {
  const size = symmetric.length;
  const matrix = symmetric.map((row) => row.slice());
  const vectors = matrix.map((_, i) => new Float64Array(size).map((_, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    const limit = NEGLIGIBLE * norm(Float64Array.from(matrix, (row, i) => row[i]!));
    let rotations = 0;
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        if (Math.abs(matrix[p]![q]!) * size <= limit) continue;
        rotate(matrix, vectors, [p, q]);
        rotations++;
      }
    }
    if (rotations === 0) break;
  }
  return vectors
    .map((vector, i) => ({ value: matrix[i]![i]!, vector }))
    .sort((one, other) => other.value - one.value);
}

/** The norm of the off-diagonal elements that remain, as a share of the diagonal's: rounding errors. */
const NEGLIGIBLE = 1e-14;

/** Rotates two axes so that the matrix has a zero at [p, q]. */
function rotate(
  matrix: readonly Float64Array[],
  vectors: readonly Float64Array[],
  [p, q]: readonly [number, number],
): void {
  const value = matrix[p]![q]!;
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
