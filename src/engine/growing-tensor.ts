// Host tensors that grow with the runs that use them.
import { hostTensor, type OrtTensor, type OrtType } from '../ort/tensor.ts';

/** A tensor whose first dimension changes from run to run: one buffer, and one cached view per size. */
export class GrowingTensor<T extends OrtType> {
  readonly #type: T;
  readonly #width: number | undefined;
  #capacity = 0;
  #whole: OrtTensor<T> | undefined;
  #views = new Map<number, OrtTensor<T>>();

  /** The shape is [n], or [n, width]. */
  constructor(type: T, width?: number) {
    this.#type = type;
    this.#width = width;
  }

  /** The tensor of `count` rows, with the values last written. */
  at(count: number): OrtTensor<T> {
    if (count > this.#capacity) {
      this.#capacity = Math.max(count, this.#capacity * 2);
      this.#whole = hostTensor(this.#type, this.#shape(this.#capacity));
      this.#views = new Map();
    }
    let view = this.#views.get(count);
    if (!view) {
      view = this.#whole!.view(this.#shape(count));
      this.#views.set(count, view);
    }
    return view;
  }

  /** Writes the values to the tensor with that many rows. */
  fill(values: readonly number[]): OrtTensor<T> {
    const tensor = this.at(values.length);
    const { data } = tensor;
    if (data instanceof BigInt64Array)
      for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i]!);
    else data.set(values);
    return tensor;
  }

  #shape(count: number): number[] {
    return this.#width === undefined ? [count] : [count, this.#width];
  }
}
