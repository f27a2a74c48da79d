// Converts the factors of LoHa and LoKr to LoRA's pairs. The code after the files then sees only pairs.
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { MAX_RANK } from '../../src/contracts/training-settings.ts';
import { invalidAdapter } from './refusal.ts';
import type { AdapterConfig, PeftType } from './tensor-names.ts';
import { MODULE_TENSORS, tensorName } from './tensor-names.ts';
import { checkedValues, parseTensors } from './tensors.ts';

// LoKr's tensors of a linear as LoRA's two. The rank of a Kronecker product is the product of both ranks: (L1 R1) ⊗ (L2 R2) =
// (L1 ⊗ L2) (R1 ⊗ R2) = B A. peft stores each of the two matrices whole or as a product. A whole matrix is multiplied by the
// identity, and its rank is its shorter side.

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
const KRONECKER: FactorKind = {
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
  if (factors.has(whole))
    throw invalidAdapter(factors.nameOf(whole), `cannot be combined with ${left}`);
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

// LoHa's four tensors of a linear as LoRA's two. The elementwise product of two matrices of rank r has at most rank r²: (W1a
// W1b) * (W2a W2b) = B A. A contains the products of each row of W1b with each row of W2b, and B the products of each column of
// W1a with each column of W2a. LoHa of rank r is therefore LoRA of rank r².

const [W1A, W1B, W2A, W2B] = ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'] as const;

/** LoHa: W1a and W2a are [out, r], W1b and W2b are [r, in]. */
const HADAMARD: FactorKind = {
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

const KINDS: readonly FactorKind[] = [HADAMARD, KRONECKER];
/** The limit for a plain LoRA file. A few factors can have a product of any size. */
const MAX_PAIR_BYTES = 2 ** 31;

/** The tensors of a file, with one pair per linear instead of its factors. */
interface Pairs<T> {
  readonly tensors: ReadonlyMap<string, T>;
  readonly computed: ReadonlyMap<string, ComputedPair>;
}

interface ComputedPair extends PairSize {
  readonly kind: FactorKind;
}

/** Parses the tensors of an adapter. Throws `ServeError` (422) with the tensor or `header` as `param`. */
export function parsePairs(bytes: Uint8Array): Pairs<Tensor> {
  return withPairs<Tensor>(parseTensors(bytes), (shapes, kind, factors) => {
    const { a, b } = kind.multiply(factors);
    return { a: fromFloat32(a, shapes.a, 'F32'), b: fromFloat32(b, shapes.b, 'F32') };
  });
}

/** Returns the shapes of the same tensors, without reading values. */
export function pairShapes(tensors: ReadonlyMap<string, Shaped>): ReadonlyMap<string, Shaped> {
  return withPairs<Shaped>(tensors, ({ a, b }) => ({ a: { shape: a }, b: { shape: b } })).tensors;
}

function withPairs<T extends Shaped>(
  tensors: ReadonlyMap<string, T>,
  toPair: (
    shapes: Readonly<Record<'a' | 'b', readonly [number, number]>>,
    kind: FactorKind,
    factors: LinearFactors<T>,
  ) => Readonly<Record<'a' | 'b', T>>,
): Pairs<T> {
  const linears = new Map<
    string,
    { readonly kind: FactorKind; readonly factors: LinearFactors<T> }
  >();
  const all = new Map<string, T>();
  for (const [name, tensor] of tensors) {
    const at = name.lastIndexOf('.');
    const [prefix, ending] = [name.slice(0, at), name.slice(at + 1)];
    const kind = KINDS.find(({ endings }) => endings.includes(ending));
    if (!kind) {
      all.set(name, tensor);
      continue;
    }
    const linear = linears.get(prefix) ?? { kind, factors: new LinearFactors<T>(prefix) };
    if (linear.kind !== kind)
      throw invalidAdapter(name, `cannot be combined with ${linear.kind.label}`);
    linear.factors.add(ending, tensor);
    linears.set(prefix, linear);
  }
  const computed = new Map<string, ComputedPair>();
  let bytes = 0;
  for (const [prefix, { kind, factors }] of linears) {
    const size = kind.measure(factors);
    const { rank, inFeatures, outFeatures } = size;
    bytes += 4 * rank * (inFeatures + outFeatures);
    const refuse = (need: string): never => {
      const first = kind.endings.find((ending) => factors.has(ending))!;
      throw invalidAdapter(factors.nameOf(first), `${kind.label} with these factors needs ${need}`);
    };
    if (rank > MAX_RANK) refuse(`rank ${rank}; the limit is ${MAX_RANK}`);
    if (bytes > MAX_PAIR_BYTES)
      refuse(`${formatFileSize(bytes)}; the limit is ${formatFileSize(MAX_PAIR_BYTES)}`);
    const shapes = { a: [rank, inFeatures], b: [outFeatures, rank] } as const;
    const pair = toPair(shapes, kind, factors);
    for (const name of ['a', 'b'] as const)
      all.set(`${prefix}.${MODULE_TENSORS[name]}`, pair[name]);
    computed.set(prefix, { ...size, kind });
  }
  return { tensors: all, computed };
}

/**
 * Returns the configuration with the ranks of the pairs. `settingOf` also throws `ServeError` (422) if the file has factors of
 * another kind, or of another rank.
 */
export function withPairRanks<C extends AdapterConfig>(config: C, pairs: Pairs<Tensor>): C {
  return {
    ...config,
    settingOf(module) {
      const setting = config.settingOf(module);
      const key = tensorName(module, 'a');
      const pair = pairs.computed.get(key.slice(0, -MODULE_TENSORS.a.length - 1));
      const type = pair?.kind.peftType ?? 'LORA';
      if (type !== config.peftType && pairs.tensors.has(key))
        throw invalidAdapter(
          'peft_type',
          `is ${config.peftType}, but ${module} has factors of ${type}`,
        );
      if (!pair) return setting;
      const { rank, factorRank = setting.rank } = pair;
      if (factorRank === setting.rank) return { ...setting, rank };
      throw invalidAdapter(
        'r',
        `is ${setting.rank} for ${module}, but its factors have rank ${factorRank}`,
      );
    },
  };
}

// The factors of one linear, of which LoHa and LoKr have more than two, and the interface of a kind of factors.

/** A tensor, or only its shape. */
export interface Shaped {
  readonly shape: readonly number[];
}

/** The size of the pair that a linear's factors are multiplied out to: A [rank, inFeatures] and B [outFeatures, rank]. */
interface PairSize {
  readonly rank: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** peft's `r`. Undefined if no factor has a side of this length. */
  readonly factorRank: number | undefined;
}

/** How the factors of one type of adapter are checked and multiplied out. */
interface FactorKind {
  readonly peftType: PeftType;
  /** The kind's name in messages. */
  readonly label: string;
  /**
   * The endings of its tensors' names. If the tensors do not fit together, the error names the first one that the linear has.
   */
  readonly endings: readonly string[];
  /** Throws `ServeError` (422) that names a tensor that is missing or does not fit. */
  measure(factors: LinearFactors<Shaped>): PairSize;
  /** Returns A and B. Throws `ServeError` (422) if a value is NaN or too large. */
  multiply(factors: LinearFactors<Tensor>): Readonly<Record<'a' | 'b', Float32Array>>;
}

/** The factors of one linear, by the endings of their tensors' names. */
class LinearFactors<T extends Shaped> {
  readonly #tensors = new Map<string, T>();
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  add(ending: string, tensor: T): void {
    this.#tensors.set(ending, tensor);
  }

  has(ending: string): boolean {
    return this.#tensors.has(ending);
  }

  nameOf(ending: string): string {
    return `${this.#prefix}.${ending}`;
  }

  /** Returns a factor. Throws `ServeError` (422) if it is missing. */
  get(ending: string): T {
    const tensor = this.#tensors.get(ending);
    if (tensor) return tensor;
    throw invalidAdapter(this.nameOf(ending), 'is missing');
  }

  /** Returns the sides of a matrix. Throws `ServeError` (422) if it is missing, or if its sides differ from the given ones. */
  sides(ending: string, rows?: number, columns?: number): readonly [number, number] {
    const { shape } = this.get(ending);
    const [height, width] = shape;
    const fits = height === (rows ?? height) && width === (columns ?? width);
    if (shape.length === 2 && fits) return [height!, width!];
    throw invalidAdapter(
      this.nameOf(ending),
      `shape [${shape}] does not fit the other factors of its module`,
    );
  }
}

/** Returns the values of a factor. Throws `ServeError` (422) if one is NaN or too large. */
function valuesOf(factors: LinearFactors<Tensor>, ending: string): Float32Array {
  return checkedValues(factors.nameOf(ending), factors.get(ending));
}
