// The outputs of a run for its requested rows: tensors to bind, and views of what the run wrote.
import { type HeadForm, SERVING } from '../model/serving-graph.ts';
import { TOP_LOGITS, TOP_LOGITS_COUNT } from '../model/top-logits.ts';
import type { OrtTensor } from '../ort/tensor.ts';
import { GrowingTensor } from './growing-tensor.ts';
import type { LogitsRow } from './logits.ts';

/** The outputs of one form of the graph. */
export interface RowOutputs<Row> {
  readonly head: HeadForm;
  /** The tensors for `count` rows, by output name. */
  at(count: number): [string, OrtTensor][];
  /** The rows that the last run wrote, as views. */
  rows(count: number): Row[];
  /** Copies a row, so that it outlives the next run. */
  copy(row: Row): Row;
}

/** The outputs of the last norm. */
export class HiddenOutputs implements RowOutputs<Float32Array> {
  readonly head = 'hidden';
  readonly #size: number;
  readonly #hidden: GrowingTensor<'float32'>;

  constructor(hiddenSize: number) {
    this.#size = hiddenSize;
    this.#hidden = new GrowingTensor('float32', hiddenSize);
  }

  at(count: number): [string, OrtTensor][] {
    return [[SERVING.hidden, this.#hidden.at(count)]];
  }

  rows(count: number): Float32Array[] {
    const { data } = this.#hidden.at(count);
    return Array.from({ length: count }, (_, row) =>
      data.subarray(row * this.#size, (row + 1) * this.#size),
    );
  }

  copy(row: Float32Array): Float32Array {
    return row.slice();
  }
}

/** The logits, and the largest logits of each row. */
export class LogitsOutputs implements RowOutputs<LogitsRow> {
  readonly head = 'logits';
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

  at(count: number): [string, OrtTensor][] {
    return [
      [SERVING.logits, this.#logits.at(count)],
      [TOP_LOGITS.values, this.#values.at(count)],
      [TOP_LOGITS.ids, this.#ids.at(count)],
      [TOP_LOGITS.logSumExp, this.#logSumExp.at(count)],
    ];
  }

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

  copy({ logits, top }: LogitsRow): LogitsRow {
    const { values, ids, logSumExp } = top!;
    return {
      logits: logits.slice(),
      top: { values: values.slice(), ids: Array.from(ids, Number), logSumExp },
    };
  }
}
