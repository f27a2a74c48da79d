// PiSSA's initial factors: scaling * B A is the best approximation of a weight by a matrix of the adapter's rank. Its singular
// vectors are eigenvectors of the weight's Gram matrix, in float64. The runtime computes the large products.
import type { Matrix } from '../../src/common/tensor.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { createSessionSync, type Session } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { largestEigen } from './eigen.ts';

type Floats = Float32Array<ArrayBuffer>;

/** The factors of an update. */
export interface Factors {
  /** [r, in] */
  readonly a: Floats;
  /** [out, r] */
  readonly b: Floats;
}

/** Float64 values by rows. */
interface DoubleMatrix {
  readonly values: Float64Array<ArrayBuffer>;
  readonly rows: number;
  readonly cols: number;
}

/** Returns the factors of the principal part of W [out, in], as peft's `pissa`: A = √(S/scaling) Vᵀ, B = U √(S/scaling). */
export function principalFactors(
  weight: Matrix,
  { rank, scaling }: { readonly rank: number; readonly scaling: number },
): Factors {
  const { rows, cols } = weight;
  const [narrow, wide] = [Math.min(rows, cols), Math.max(rows, cols)];
  const gram = gramOf(weight);
  using product = openProduct({});
  const pairs = largestEigen(narrow, rank, (vectors) => product.rows(stacked(vectors), gram));
  const images = pairs.map(() => new Float64Array(wide));
  using along = openProduct({ transB: 1 });
  for (const { from, part } of partsOf(weight)) {
    const rowsOfPart = along.rows(stacked(pairs.map(({ vector }) => vector)), part);
    for (const [k, image] of images.entries()) image.set(rowsOfPart[k]!, from);
  }
  const factors = { a: new Float32Array(rank * cols), b: new Float32Array(rows * rank) };
  for (const [k, { value, vector }] of pairs.entries()) {
    const singular = Math.sqrt(Math.max(0, value));
    if (singular === 0) continue;
    const root = Math.sqrt(singular / scaling);
    const scaled = [vector.map((v) => v * root), images[k]!.map((v) => (v * root) / singular)];
    const [left, right] = rows <= cols ? scaled : scaled.toReversed();
    factors.a.set(right!, k * cols);
    for (let row = 0; row < rows; row++) factors.b[row * rank + k] = left![row]!;
  }
  return factors;
}

/** Returns the Gram matrix of the weight's narrow side: W Wᵀ or Wᵀ W. */
function gramOf(weight: Matrix): DoubleMatrix {
  const size = Math.min(weight.rows, weight.cols);
  const values = new Float64Array(size * size);
  using product = openProduct({ transA: 1 });
  for (const { part } of partsOf(weight)) {
    const own = product.values(part, part);
    for (let i = 0; i < values.length; i++) values[i]! += own[i]!;
  }
  return { values, rows: size, cols: size };
}

/** The most values of a weight that are held in float64 (64 MB). */
const PART_VALUES = 2 ** 23;

/** Cuts a weight across its wide side. Parts are [count, narrow], in float64. */
function* partsOf({ values, rows, cols }: Matrix): Generator<{ from: number; part: DoubleMatrix }> {
  const [narrow, wide] = [Math.min(rows, cols), Math.max(rows, cols)];
  const [ofNarrow, ofWide] = rows <= cols ? [cols, 1] : [1, cols];
  const step = Math.max(1, Math.floor(PART_VALUES / narrow));
  for (let from = 0; from < wide; from += step) {
    const count = Math.min(step, wide - from);
    const part = new Float64Array(count * narrow);
    for (let i = 0, to = 0; i < count; i++) {
      for (let k = 0; k < narrow; k++) part[to++] = values[(from + i) * ofWide + k * ofNarrow]!;
    }
    yield { from, part: { values: part, rows: count, cols: narrow } };
  }
}

function stacked(vectors: readonly Float64Array[]): DoubleMatrix {
  const cols = vectors[0]!.length;
  const values = new Float64Array(vectors.length * cols);
  for (const [i, vector] of vectors.entries()) values.set(vector, i * cols);
  return { values, rows: vectors.length, cols };
}

interface Transposed {
  readonly transA?: 1;
  readonly transB?: 1;
}

/** Opens the product of two matrices, or of their transposes. */
function openProduct(transposed: Transposed) {
  const session = createProduct(transposed);
  const values = (a: DoubleMatrix, b: DoubleMatrix) => {
    const [count, size] = [
      transposed.transA ? a.cols : a.rows,
      transposed.transB ? b.rows : b.cols,
    ];
    using x = hostTensor('float64', [a.rows, a.cols], a.values);
    using w = hostTensor('float64', [b.rows, b.cols], b.values);
    using y = hostTensor('float64', [count, size]);
    using binding = session.createBinding();
    binding.bindInput('x', x);
    binding.bindInput('w', w);
    binding.bindOutput('y', y);
    binding.runSync();
    return y.data;
  };
  return {
    values,
    /** Returns the rows of the product. */
    rows(a: DoubleMatrix, b: DoubleMatrix): Float64Array[] {
      const all = values(a, b);
      const size = all.length / a.rows;
      return Array.from({ length: a.rows }, (_, i) => all.subarray(i * size, (i + 1) * size));
    },
    [Symbol.dispose]: () => session.release(),
  };
}

function createProduct(attributes: Transposed): Session {
  const g = new GraphBuilder();
  const x = g.input('x', 'float64', ['m', 'n']);
  const w = g.input('w', 'float64', ['p', 'q']);
  const [y] = g.nodeWithOutputs('Gemm', [x, w], { ...attributes }, { outputs: ['y'] });
  g.output(y!, 'float64', ['r', 's']);
  return createSessionSync(g.toBytes(), {});
}
