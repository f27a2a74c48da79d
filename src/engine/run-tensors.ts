// The memory that runs read and write besides cache and weights: made once, grown when a run asks more rows,
// handed out as views that are kept. Knows no graph's order of inputs.
import { NARROW, NARROW_WIDTH } from '../model/narrow-graph.ts';
import { SERVING } from '../model/serving-graph.ts';
import { hostTensor, type OrtTensor, type OrtType } from '../ort/tensor.ts';
import type { LogitsRow } from './logits.ts';

/** The memory of a run's outputs, narrowed logits included. */
export class LogitsOutputs {
  readonly #vocabSize: number;
  readonly #logits: GrowingTensor<'float32'>;
  readonly #values: GrowingTensor<'float32'>;
  readonly #ids: GrowingTensor<'int64'>;
  readonly #logSumExp = new GrowingTensor('float32');

  constructor(vocabSize: number) {
    const width = Math.min(NARROW_WIDTH, vocabSize);
    this.#vocabSize = vocabSize;
    this.#logits = new GrowingTensor('float32', vocabSize);
    this.#values = new GrowingTensor('float32', width);
    this.#ids = new GrowingTensor('int64', width);
  }

  /** By output name, for `count` rows. */
  at(count: number): [string, OrtTensor][] {
    return [
      [SERVING.logits, this.#logits.at(count)],
      [NARROW.values, this.#values.at(count)],
      [NARROW.ids, this.#ids.at(count)],
      [NARROW.logSumExp, this.#logSumExp.at(count)],
    ];
  }

  /** What the last run wrote, as views. */
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

/** A small operand whose first dimension changes from run to run: one memory, a view per size. */
export class GrowingTensor<T extends OrtType> {
  readonly #type: T;
  readonly #width: number | undefined;
  #capacity = 0;
  #whole: OrtTensor<T> | undefined;
  #views = new Map<number, OrtTensor<T>>();

  /** [n], or [n, width]. */
  constructor(type: T, width?: number) {
    this.#type = type;
    this.#width = width;
  }

  /** The tensor of `count` rows; its contents are what was last written. */
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
