// The small tensors that runs read and write, apart from cache and weights. They are allocated once and grow when a run
// has more rows.
import { SERVING } from '../model/serving-graph.ts';
import { TOP_LOGITS, TOP_LOGITS_COUNT } from '../model/top-logits.ts';
import { hostTensor, type OrtTensor, type OrtType } from '../ort/tensor.ts';
import type { LogitsRow } from './logits.ts';

/** The outputs of a run: the logits, and the largest ones of each row. */
export class LogitsOutputs {
  readonly #vocabSize: number;
  readonly #logits: GrowingTensor<'float32'>;
  readonly #values: GrowingTensor<'float32'>;
  readonly #ids: GrowingTensor<'int64'>;
  readonly #logSumExp = new GrowingTensor('float32');

  constructor(vocabSize: number) {
    const width = Math.min(TOP_LOGITS_COUNT, vocabSize);
    this.#vocabSize = vocabSize;
    this.#logits = new GrowingTensor('float32', vocabSize);
    this.#values = new GrowingTensor('float32', width);
    this.#ids = new GrowingTensor('int64', width);
  }

  /** The tensors for `count` rows, by output name. */
  at(count: number): [string, OrtTensor][] {
    return [
      [SERVING.logits, this.#logits.at(count)],
      [TOP_LOGITS.values, this.#values.at(count)],
      [TOP_LOGITS.ids, this.#ids.at(count)],
      [TOP_LOGITS.logSumExp, this.#logSumExp.at(count)],
    ];
  }

  /** The rows that the last run wrote, as views. */
  rows(count: number): LogitsRow[] {
    const logits = this.#logits.at(count).data;
    const values = this.#values.at(count).data;
    const ids = this.#ids.at(count).data;
    const logSumExp = this.#logSumExp.at(count).data;
    const width = values.length / count;
    return Array.from({ length: count }, (_, row) => ({
      logits: logits.subarray(row * this.#vocabSize, (row + 1) * this.#vocabSize),
      top: {
        values: values.subarray(row * width, (row + 1) * width),
        ids: ids.subarray(row * width, (row + 1) * width),
        logSumExp: logSumExp[row]!,
      },
    }));
  }
}

/** A tensor whose first dimension changes from run to run: one memory, and one cached view per size. */
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

  /** The tensor of `count` rows, with the values that were last written. */
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

  /** Writes the values to the tensor of as many rows. */
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
