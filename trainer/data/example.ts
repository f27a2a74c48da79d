// A training example as token ids, and what is counted over many of them.
import { createHash } from 'node:crypto';
import { FileError } from '../../src/common/errors.ts';
import type { DatasetParam, RowFault } from '../../src/rows/file-fault.ts';

/** T tokens and what is learned of them. */
export interface Example {
  /** [T] */
  readonly ids: Int32Array;
  /** [T]: what stands at a position, -1 where it is not learned. Nothing predicts position 0. */
  readonly labels: Int32Array;
  /** [T]: loss weight of each label; absent: 1. */
  readonly weights: Float32Array | undefined;
}

/** Tokens of which something is learned. */
export function countTrained({ labels, weights }: Example): number {
  let trained = 0;
  for (let t = 1; t < labels.length; t++) {
    if (labels[t]! >= 0 && (weights?.[t] ?? 1) > 0) trained++;
  }
  return trained;
}

/** Keeps the first `maxLength` tokens. */
export function truncateExample(example: Example, maxLength: number): Example {
  if (example.ids.length <= maxLength) return example;
  return {
    ids: example.ids.slice(0, maxLength),
    labels: example.labels.slice(0, maxLength),
    weights: example.weights?.slice(0, maxLength),
  };
}

/** Equal for equal examples, for others it differs. */
export function fingerprint({ ids, labels, weights }: Example): string {
  const hash = createHash('sha1');
  for (const array of [ids, labels, weights]) {
    if (array) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  return hash.digest('base64');
}

export interface DatasetErrorOptions {
  /** Absent: those of `faults`. */
  readonly badLines?: number;
  /** The first of them; none where it is the whole file. */
  readonly faults?: readonly RowFault[];
  readonly code?: 'invalid_training_file' | 'invalid_n_examples';
  readonly param?: DatasetParam;
}

/** A file of examples that cannot be trained on, with OpenAI's code. */
export class DatasetError extends FileError {
  override name = 'DatasetError';
  readonly code: NonNullable<DatasetErrorOptions['code']>;
  readonly param: DatasetParam;
  /** What is wrong with the file: a predicate. */
  readonly detail: string;
  readonly faults: readonly RowFault[];
  /** Of the whole file: `faults` holds the first of them. */
  readonly badLines: number;

  constructor(file: string, detail: string, options: DatasetErrorOptions = {}) {
    const { faults = [], code = 'invalid_training_file', param = 'training_file' } = options;
    const { badLines = faults.length } = options;
    const lines = faults.map((fault) => `\n  line ${fault.line}: ${fault.message}`);
    super(file, `${detail}${lines.join('')}`);
    this.code = code;
    this.param = param;
    this.detail = detail;
    this.faults = faults;
    this.badLines = badLines;
  }

  /** The same of the validation file: what reads a file does not know which one it is. */
  ofValidation(): DatasetError {
    const { faults, badLines, code } = this;
    const options = { faults, badLines, code, param: 'validation_file' } as const;
    return new DatasetError(this.field, this.detail, options);
  }
}
