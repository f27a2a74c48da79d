// PiSSA's initial factors: scaling * B A is the best approximation of a weight by a matrix of the adapter's rank. A randomized
// singular value decomposition in a block Krylov space computes it, with the large products on the runtime.
import { append } from '../../src/common/long-arrays.ts';
import type { Matrix } from '../../src/common/tensor.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { createSessionSync, type Session } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { seededRandom } from '../random.ts';
import { add, dot, orthonormalize, symmetricEigen } from './matrix.ts';

type Floats = Float32Array<ArrayBuffer>;

/** The factors of an update. */
export interface Factors {
  /** [r, in] */
  readonly a: Floats;
  /** [out, r] */
  readonly b: Floats;
}

/** Vectors in a block in addition to the rank. */
const EXTRA_VECTORS = 8;
/**
 * The largest basis of the Krylov space. A weight that is no wider than this is decomposed exactly. For wider weights with a
 * flat spectrum, the last vectors are mixtures. That is harmless, because training subtracts the same factors that it starts
 * from.
 */
const MAX_BASIS = 160;

/** Returns the factors of the principal part of W [out, in], as peft's `pissa`: A = √(S/scaling) Vᵀ, B = U √(S/scaling). */
export function principalFactors(
  weight: Matrix,
  { rank, scaling }: { readonly rank: number; readonly scaling: number },
): Factors {
  const { rows, cols } = weight;
  const narrow = Math.min(rows, cols);
  const random = seededRandom(0);
  using products = openProducts(weight);
  const size = Math.min(narrow, Math.max(MAX_BASIS, 4 * rank));
  // Orthonormal vectors along the narrow side: random ones, then their repeated products with W Wᵀ.
  const basis = Array.from({ length: Math.min(size, rank + EXTRA_VECTORS) }, () =>
    new Float64Array(narrow).map(() => random() - 0.5),
  );
  orthonormalize(basis);
  let block = basis.slice();
  while (basis.length < size) {
    const done = basis.length;
    block = products.toNarrow(products.toWide(block)).slice(0, size - done);
    append(basis, block);
    orthonormalize(basis, done);
  }
  const images = products.toWide(basis);
  const gram = images.map((one) => Float64Array.from(images, (other) => dot(one, other)));
  const factors = { a: new Float32Array(rank * cols), b: new Float32Array(rows * rank) };
  for (const [k, { value, vector }] of symmetricEigen(gram).slice(0, rank).entries()) {
    const singular = Math.sqrt(Math.max(0, value));
    if (singular === 0) continue;
    const root = Math.sqrt(singular / scaling);
    const along = combine(basis, vector, root);
    const across = combine(images, vector, root / singular);
    const [left, right] = rows <= cols ? [along, across] : [across, along];
    factors.a.set(right, k * cols);
    for (let row = 0; row < rows; row++) factors.b[row * rank + k] = left[row]!;
  }
  return factors;
}

/** Returns the weighted sum of the vectors, times the scale. */
function combine(vectors: readonly Float64Array[], weights: Float64Array, scale: number) {
  const sum = new Float64Array(vectors[0]!.length);
  for (const [i, vector] of vectors.entries()) add(sum, vector, scale * weights[i]!);
  return sum;
}

/** Opens the products of a matrix with vectors along its narrow side and along its wide side. */
function openProducts({ values, rows, cols }: Matrix) {
  const [narrow, wide] = [Math.min(rows, cols), Math.max(rows, cols)];
  const isWide = rows <= cols;
  const matrix = hostTensor('float32', [rows, cols], values as Floats);
  const toWide = createProduct(isWide);
  const toNarrow = createProduct(!isWide);
  const multiply = (session: Session, vectors: readonly Float64Array[], size: number) => {
    const count = vectors.length;
    using x = hostTensor('float32', [count, vectors[0]!.length]);
    using y = hostTensor('float32', [count, size]);
    for (const [i, vector] of vectors.entries()) x.data.set(vector, i * vector.length);
    using binding = session.createBinding();
    binding.bindInput('x', x);
    binding.bindInput('w', matrix);
    binding.bindOutput('y', y);
    binding.runSync();
    return vectors.map((_, i) => Float64Array.from(y.data.subarray(i * size, (i + 1) * size)));
  };
  return {
    toWide: (vectors: readonly Float64Array[]) => multiply(toWide, vectors, wide),
    toNarrow: (vectors: readonly Float64Array[]) => multiply(toNarrow, vectors, narrow),
    [Symbol.dispose]() {
      toWide.release();
      toNarrow.release();
      matrix.release();
    },
  };
}

/** Creates the session of y = x W for vectors along the rows of W, or of y = x Wᵀ otherwise. */
function createProduct(isAlongRows: boolean): Session {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', ['count', 'from']);
  const w = g.input('w', 'float32', ['rows', 'cols']);
  const attributes = { transB: isAlongRows ? 0 : 1 };
  const [y] = g.nodeWithOutputs('Gemm', [x, w], attributes, { outputs: ['y'] });
  g.output(y!, 'float32', ['count', 'to']);
  return createSessionSync(g.toBytes(), {});
}
