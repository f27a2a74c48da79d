// Training examples as token ids and labels, and the error for a file that cannot be used for training.
import { createHash } from 'node:crypto';
import { FileError } from '../../src/common/errors.ts';
import type { FunctionTool } from '../../src/contracts/tools.ts';
import type { FileFault } from '../../src/rows/file-fault.ts';

/** T tokens and their labels. */
export interface Example {
  /** [T] */
  readonly ids: Int32Array;
  /**
   * [T]: the token id at each position, or -1 if it is masked. No position predicts position 0. A classifier's example has T +
   * 1 labels: the last one is the class number, which the last token predicts.
   */
  readonly labels: Int32Array;
  /** [T]: the loss weight of each label. Absent: all 1. */
  readonly weights: Float32Array | undefined;
  /** The same prompt with the output to which this example's output is preferred. Absent: the example is not a pair. */
  readonly rejected?: Example | undefined;
  /** The values for the grader. Present if the example is a prompt, whose completions are sampled. */
  readonly item?: Readonly<Record<string, unknown>> | undefined;
  /** The tools that completions of the prompt may call. Absent: none. */
  readonly tools?: readonly FunctionTool[] | undefined;
}

/** Returns the sequences that an example is trained on: itself, and for a pair the rejected one after it. */
export function sequencesOf(example: Example): readonly Example[] {
  return example.rejected ? [example, example.rejected] : [example];
}

/** Returns the lengths by which examples are grouped and planned. A pair is as long as its longer sequence. */
export function sequenceLengths(examples: readonly Example[]): number[] {
  return examples.map(({ ids, rejected }) => Math.max(ids.length, rejected?.ids.length ?? 0));
}

/** Counts the tokens of an example, or of both sequences of a pair. */
export function countTokens(example: Example): number {
  return sequencesOf(example).reduce((sum, { ids }) => sum + ids.length, 0);
}

/** Counts the trained tokens. A prompt has one, because its completions have some. A pair has none if one of its outputs was cut off, because the other one alone teaches nothing. */
export function countTrained(example: Example): number {
  if (example.item) return 1;
  const counts = sequencesOf(example).map(countLabels);
  return counts.includes(0) ? 0 : counts.reduce((sum, count) => sum + count, 0);
}

/** Counts the trained tokens of a single sequence. */
export function countLabels({ labels, weights }: Example): number {
  let trained = 0;
  for (let t = 1; t < labels.length; t++) {
    if (labels[t]! >= 0 && (weights?.[t] ?? 1) > 0) trained++;
  }
  return trained;
}

/** Returns an example's class number; undefined if it is not a classifier's example. */
export function classOf({ ids, labels }: Example): number | undefined {
  return labels[ids.length];
}

/** Keeps the first `maxLength` tokens and the class. */
export function truncateExample(example: Example, maxLength: number): Example {
  const { ids, labels, weights, rejected } = example;
  if (sequencesOf(example).every((sequence) => sequence.ids.length <= maxLength)) return example;
  const kept = labels.slice(0, maxLength);
  return {
    ids: ids.slice(0, maxLength),
    labels: Int32Array.from([...kept, ...labels.subarray(ids.length)]),
    weights: weights?.slice(0, maxLength),
    ...(rejected && { rejected: truncateExample(rejected, maxLength) }),
  };
}

/** Returns a hash that is the same exactly for equal examples. */
export function fingerprint(example: Example): string {
  const hash = createHash('sha1');
  for (const array of sequencesOf(example).flatMap(({ ids, labels, weights }) => [
    ids,
    labels,
    weights,
  ])) {
    if (array) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  if (example.item) hash.update(JSON.stringify(example.item));
  return hash.digest('base64');
}

/** A file cannot be used for training. */
export class DatasetError extends FileError {
  override name = 'DatasetError';
  readonly fault: FileFault;

  /** @param detail completes "The file …" @param fault `badLines` defaults to the length of `faults` */
  constructor(
    file: string,
    detail: string,
    fault: Partial<Omit<FileFault, 'file' | 'detail'>> = {},
  ) {
    const { faults = [] } = fault;
    super(file, detail);
    // Each fault is already printable, and its line break must stay.
    this.message += faults.map(({ line, message }) => `\n  line ${line}: ${message}`).join('');
    const defaults = { code: 'invalid_training_file', param: 'training_file' } as const;
    this.fault = { ...defaults, faults, badLines: faults.length, ...fault, file, detail };
  }

  /** Returns the same error for the validation file. The code that reads a file cannot tell which one it is. */
  ofValidation(): DatasetError {
    const { file, detail, ...fault } = this.fault;
    return new DatasetError(file, detail, { ...fault, param: 'validation_file' });
  }
}
