// PiSSA's initial factors against a plain singular value decomposition in float64.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Matrix } from '../../src/common/tensor.ts';
import { principalFactors } from '../../trainer/adapter/principal.ts';
import { normal, seededRandom } from '../../trainer/random.ts';

/** Of the product of the factors, which are rounded to float32, relative to the best approximation. */
const TOLERANCE = 1e-6;
const SCALING = 2;

interface Triple {
  readonly singular: number;
  /** The left vector times the singular value: [rows]. */
  readonly image: Float64Array;
  /** The right vector: [cols]. */
  readonly right: Float64Array;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Returns the singular triples, the largest first. Jacobi's one-sided method: rotates pairs of columns until all are orthogonal. */
function plainSvd({ values, rows, cols }: Matrix): Triple[] {
  const images = Array.from({ length: cols }, (_, c) =>
    Float64Array.from({ length: rows }, (_, r) => values[r * cols + c]!),
  );
  const rights = images.map((_, c) => new Float64Array(cols).map((_, i) => (i === c ? 1 : 0)));
  for (let hasRotated = true; hasRotated; ) {
    hasRotated = false;
    for (let p = 0; p < cols; p++) {
      for (let q = p + 1; q < cols; q++) {
        const [x, y] = [images[p]!, images[q]!];
        const [xx, yy, xy] = [dot(x, x), dot(y, y), dot(x, y)];
        if (Math.abs(xy) <= 1e-12 * Math.sqrt(xx * yy) + 1e-30) continue;
        hasRotated = true;
        const angle = Math.atan2(2 * xy, xx - yy) / 2;
        for (const list of [images, rights]) turn(list[p]!, list[q]!, angle);
      }
    }
  }
  return images
    .map((image, c) => ({ singular: Math.sqrt(dot(image, image)), image, right: rights[c]! }))
    .sort((one, other) => other.singular - one.singular);
}

function turn(x: Float64Array, y: Float64Array, angle: number): void {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  for (let i = 0; i < x.length; i++) {
    const before = x[i]!;
    x[i] = c * before + s * y[i]!;
    y[i] = c * y[i]! - s * before;
  }
}

/** A matrix of random numbers whose columns are scaled. */
function drawn(rows: number, cols: number, scaleOf: (col: number) => number = () => 1): Matrix {
  const random = seededRandom(rows);
  const values = Float32Array.from(
    { length: rows * cols },
    (_, i) => normal(random) * scaleOf(i % cols),
  );
  return { values, rows, cols };
}

/** A matrix of a low rank. */
function product(rows: number, cols: number, rank: number): Matrix {
  const [a, b] = [drawn(rows, rank).values, drawn(cols + 1, rank).values];
  const values = Float32Array.from({ length: rows * cols }, (_, i) => {
    const [row, col] = [Math.floor(i / cols), i % cols];
    return Array.from({ length: rank }, (_, k) => a[row * rank + k]! * b[col * rank + k]!).reduce(
      (sum, value) => sum + value,
    );
  });
  return { values, rows, cols };
}

/** Weights that are wider than the space that is iterated, unless stated. */
const CASES: Readonly<Record<string, readonly [weight: Matrix, ranks: readonly number[]]>> = {
  'a spectrum that decays like real ones': [drawn(300, 240, (c) => (c + 1) ** -0.1), [8, 32]],
  'a wide weight with a flat spectrum': [drawn(64, 80), [1, 8]],
  'a tall weight with a flat spectrum': [drawn(80, 64), [1, 8]],
  'a fast decay': [drawn(64, 64, (c) => 0.8 ** c), [16]],
  'an outlier of a thousand times the others': [drawn(64, 64, (c) => (c ? 1 : 1000)), [8]],
  'a weight of a lower rank': [product(64, 70, 3), [8]],
  'a weight that is no wider than the space': [drawn(12, 20), [4, 12]],
  'one row': [drawn(1, 30), [1]],
};

for (const [name, [weight, ranks]] of Object.entries(CASES)) {
  test(`PiSSA's factors are the best approximation: ${name}`, () => {
    const { rows, cols } = weight;
    const triples = plainSvd(weight);
    for (const rank of ranks) {
      const { a, b } = principalFactors(weight, { rank, scaling: SCALING });
      let [difference, total] = [0, 0];
      for (let row = 0; row < rows; row++) {
        for (let col = 0; col < cols; col++) {
          let [got, best] = [0, 0];
          for (let k = 0; k < rank; k++) {
            got += SCALING * b[row * rank + k]! * a[k * cols + col]!;
            best += triples[k]!.image[row]! * triples[k]!.right[col]!;
          }
          difference += (got - best) ** 2;
          total += best ** 2;
        }
      }
      const relative = Math.sqrt(difference / total);
      assert.ok(relative < TOLERANCE, `rank ${rank}: ${relative}`);
      for (let k = 0; k < rank; k++) {
        const row = Float64Array.from(a.subarray(k * cols, (k + 1) * cols));
        const offBy = Math.abs(SCALING * dot(row, row) - triples[k]!.singular);
        assert.ok(offBy < TOLERANCE * triples[0]!.singular, `rank ${rank}, row ${k}: ${offBy}`);
      }
    }
  });
}

test("PiSSA's factors of a zero weight are zero", () => {
  const { a, b } = principalFactors(
    { values: new Float32Array(30), rows: 5, cols: 6 },
    { rank: 2, scaling: 1 },
  );
  assert.ok([...a, ...b].every((value) => value === 0));
});
