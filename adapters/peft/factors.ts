// The factors of one linear, of which LoHa and LoKr have more than two, and the interface of a kind of factors.
import type { Tensor } from '../../src/common/tensor.ts';
import type { PeftType } from './adapter-config.ts';
import { invalidAdapter } from './refusal.ts';
import { checkedValues } from './tensors.ts';

/** A tensor, or only its shape. */
export interface Shaped {
  readonly shape: readonly number[];
}

/** The size of the pair that a linear's factors are multiplied out to: A [rank, inFeatures] and B [outFeatures, rank]. */
export interface PairSize {
  readonly rank: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** peft's `r`. Undefined if no factor has a side of this length. */
  readonly factorRank: number | undefined;
}

/** How the factors of one type of adapter are checked and multiplied out. */
export interface FactorKind {
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
export class LinearFactors<T extends Shaped> {
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
    throw invalidAdapter(this.nameOf(ending), `shape [${shape}] does not fit the others`);
  }
}

/** Returns the values of a factor. Throws `ServeError` (422) if one is NaN or too large. */
export function valuesOf(factors: LinearFactors<Tensor>, ending: string): Float32Array {
  return checkedValues(factors.nameOf(ending), factors.get(ending));
}
