// What is wrong with a file of rows, in the words of OpenAI's API: the same from the request that creates a job and from
// the job that trains on the file.
import type { Fault } from '../contracts/training.ts';

/** A job's files of rows, as OpenAI's API calls them. */
export type DatasetParam = 'training_file' | 'validation_file';

export interface RowFault {
  /** From 1. */
  readonly line: number;
  /** The field at fault and what is wrong with it. */
  readonly message: string;
}

/** Bad lines that a message names; the others are counted. */
export const MAX_REPORTED = 10;

export interface FileFault {
  /** The file's name or id. */
  readonly file: string;
  readonly param: DatasetParam;
  readonly code: 'invalid_training_file' | 'invalid_n_examples';
  /** A predicate: what is wrong with the whole file. */
  readonly detail: string;
  /** The first bad lines; none if the whole file is at fault. */
  readonly faults: readonly RowFault[];
  /** All bad lines. */
  readonly badLines: number;
}

/** Returns the fault with a message that names the file, the first lines at fault and their reasons. */
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

/** The predicate for a file with bad lines. @param isWhole whether all of the file was read */
export function badLinesDetail(badLines: number, isWhole = true): string {
  if (badLines === 1 && isWhole) return 'has a bad line';
  const count = `${isWhole ? '' : 'at least '}${badLines}`;
  const shown = badLines > MAX_REPORTED ? `; the first ${MAX_REPORTED}` : '';
  return `has ${count} bad lines${shown}`;
}

/** The predicate for a file with too few rows, as OpenAI words it. */
export function tooFewDetail(examples: number, minExamples: number): string {
  return `has ${examples} example(s), but must have at least ${minExamples} examples`;
}

/** The predicate for a file with no row at all. */
export const NO_EXAMPLES_DETAIL = 'holds no examples';
