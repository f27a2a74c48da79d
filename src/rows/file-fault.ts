// Describes the faults of a training file in the wording of OpenAI's API. The request that creates a job and the job itself
// report the same text.
import type { Fault } from '../contracts/training-messages.ts';

/** A job's files of rows, by their names in OpenAI's API. */
export type DatasetParam = 'training_file' | 'validation_file';

/** A bad line. */
interface TrainingRowFault {
  /** Counted from 1. */
  readonly line: number;
  /** The field at fault and what is wrong with it. */
  readonly message: string;
}

/** The number of bad lines that a message lists. The rest are only counted. */
const MAX_REPORTED = 10;

/** The number of bad lines whose numbers are kept. A list of them takes 70 kB. */
const MAX_NUMBERED = 10_000;

/** Collects the bad lines of a file: counts all, and keeps the first ones. */
export class BadLines {
  readonly faults: TrainingRowFault[] = [];
  readonly numbers: number[] = [];
  count = 0;

  add(line: number, message: string): void {
    this.count++;
    if (this.faults.length < MAX_REPORTED) this.faults.push({ line, message });
    if (this.numbers.length < MAX_NUMBERED) this.numbers.push(line);
  }
}

/** A file that cannot be used for training. */
export interface FileFault {
  /** The file's name or id. */
  readonly file: string;
  readonly param: DatasetParam;
  readonly code: 'invalid_training_file' | 'invalid_n_examples';
  /** Completes "The file …". */
  readonly detail: string;
  /** The first bad lines. Empty if the whole file is at fault. */
  readonly faults: readonly TrainingRowFault[];
  /** The number of bad lines. */
  readonly badLines: number;
}

/** Returns the fault with a message that names the file and lists its first bad lines. */
export function fileFault({ file, param, code, detail, faults, badLines }: FileFault): Fault {
  const kind = param === 'training_file' ? 'Training' : 'Validation';
  if (code === 'invalid_n_examples')
    return { code, message: `${kind} file ${file} ${detail}`, param };
  const what = `The ${kind.toLowerCase()} file ${file} is invalid.`;
  if (faults.length === 0) return { code, message: `${what} It ${detail}.`, param };
  const lines = faults.map(({ line, message }) => `Line ${line}: ${message}.`);
  return {
    code,
    message: [what, ...(badLines > faults.length ? [`It ${detail}:`] : []), ...lines].join(' '),
    param,
    lines: faults.map(({ line }) => line),
  };
}

/** Returns the detail for a file with bad lines. @param isWhole whether the whole file was read */
export function badLinesDetail(badLines: number, isWhole = true): string {
  if (badLines === 1 && isWhole) return 'has a bad line';
  const count = `${isWhole ? '' : 'at least '}${badLines}`;
  const shown = badLines > MAX_REPORTED ? `; the first ${MAX_REPORTED}` : '';
  return `has ${count} bad lines${shown}`;
}

/** Returns the detail for a file with too few rows, in OpenAI's wording. */
export function tooFewDetail(examples: number, minExamples: number): string {
  return `has ${examples} example(s), but must have at least ${minExamples} examples`;
}

/** Returns the detail for a file with too many rows. */
export function tooManyDetail(examples: number, maxExamples: number): string {
  return `has ${examples} example(s), but must have at most ${maxExamples} examples`;
}

/** The detail for a file without rows. */
export const NO_EXAMPLES_DETAIL = 'holds no examples';
