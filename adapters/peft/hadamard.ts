// LoHa's four tensors of a linear as LoRA's two. The elementwise product of two matrices of rank r has rank r² at most:
// (W1a W1b) * (W2a W2b) = B A. A has the products of each row of W1b with each row of W2b, and B the products of each column
// of W1a with each column of W2a. So LoHa of rank r is LoRA of rank r².
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { MAX_RANK } from '../../src/contracts/training-settings.ts';
import { invalidAdapter } from './refusal.ts';
import { MODULE_TENSORS } from './tensor-names.ts';
import { checkedValues, parseTensors, type Tensors } from './tensors.ts';

/** The factors of a linear [out, in], by the ending of their names. */
const FACTORS = {
  /** [out, rank] */
  w1a: 'hada_w1_a',
  /** [rank, in] */
  w1b: 'hada_w1_b',
  /** [out, rank] */
  w2a: 'hada_w2_a',
  /** [rank, in] */
  w2b: 'hada_w2_b',
} as const;

type Factors<T> = Readonly<Record<keyof typeof FACTORS, T>>;

/** A tensor, or only its shape. */
export interface Shaped {
  readonly shape: readonly number[];
}

/** Parses the tensors of an adapter, with LoHa's as those of LoRA. Throws `ServeError` (422) with the tensor or `header` as `param`. */
export function parsePairs(bytes: Uint8Array): Tensors {
  return withPairs(parseTensors(bytes), multiplyFactors);
}

/** Returns the rank of the pair that LoHa of rank `r` becomes. Throws `ServeError` (422) with `field` if it is too large. */
export function hadamardRank(field: string, r: number): number {
  if (r * r <= MAX_RANK) return r * r;
  throw invalidAdapter(field, `LoHa of rank ${r} needs rank ${r * r}; the limit is ${MAX_RANK}`);
}

/**
 * Replaces the factors of each linear by `lora_A.weight` [r², in] and `lora_B.weight` [out, r²]. Throws `ServeError` (422) that
 * names a tensor which is missing or does not fit.
 */
export function withPairs<T extends Shaped>(
  tensors: ReadonlyMap<string, T>,
  toPair: (factors: Factors<T>, module: string) => { readonly a: T; readonly b: T },
): ReadonlyMap<string, T> {
  const first = `.${FACTORS.w1a}`;
  const modules = [...tensors.keys()].filter((name) => name.endsWith(first));
  if (modules.length === 0) return tensors;
  const others = new Map(tensors);
  const pairs = modules.flatMap((name): [string, T][] => {
    const module = name.slice(0, -first.length);
    const factors = takeFactors(others, module);
    const { a, b } = toPair(factors, module);
    return [
      [`${module}.${MODULE_TENSORS.a}`, a],
      [`${module}.${MODULE_TENSORS.b}`, b],
    ];
  });
  return new Map([...others, ...pairs]);
}

function takeFactors<T extends Shaped>(tensors: Map<string, T>, module: string): Factors<T> {
  const take = (factor: keyof typeof FACTORS) => {
    const key = `${module}.${FACTORS[factor]}`;
    const tensor = tensors.get(key);
    if (!tensor) throw invalidAdapter(key, 'is missing');
    tensors.delete(key);
    return tensor;
  };
  const factors = { w1a: take('w1a'), w1b: take('w1b'), w2a: take('w2a'), w2b: take('w2b') };
  const [out, rank] = factors.w1a.shape;
  const shapes: Factors<readonly unknown[]> = {
    w1a: [out, rank],
    w1b: [rank, factors.w1b.shape[1]],
    w2a: [out, rank],
    w2b: [rank, factors.w1b.shape[1]],
  };
  for (const [factor, shape] of Object.entries(shapes) as [keyof typeof FACTORS, unknown[]][]) {
    const found = factors[factor].shape;
    if (found.length === 2 && found.join() === shape.join()) continue;
    throw invalidAdapter(
      `${module}.${FACTORS[factor]}`,
      `shape [${found}] does not fit the others`,
    );
  }
  hadamardRank(`${module}.${FACTORS.w1a}`, rank!);
  return factors;
}

/** Returns the shapes of the pair. */
export function pairShapes({ w1a, w1b }: Factors<Shaped>): Record<'a' | 'b', Shaped> {
  const [out, rank] = w1a.shape as [number, number];
  return { a: { shape: [rank * rank, w1b.shape[1]!] }, b: { shape: [out, rank * rank] } };
}

/** Returns the pair. Throws `ServeError` (422) if a factor has a value that is no number or too large. */
function multiplyFactors(factors: Factors<Tensor>, module: string): Record<'a' | 'b', Tensor> {
  const [outFeatures, rank] = factors.w1a.shape as [number, number];
  const inFeatures = factors.w1b.shape[1]!;
  const values = (factor: keyof typeof FACTORS) =>
    checkedValues(`${module}.${FACTORS[factor]}`, factors[factor]);
  const [w1a, w1b, w2a, w2b] = [values('w1a'), values('w1b'), values('w2a'), values('w2b')];
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
  const shapes = pairShapes(factors);
  return {
    a: fromFloat32(a, shapes.a.shape, 'F32'),
    b: fromFloat32(b, shapes.b.shape, 'F32'),
  };
}
