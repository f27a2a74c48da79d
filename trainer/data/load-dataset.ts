// A training file → examples and counts. All bad rows are counted before anything is trained, and the first ten are named.
import path from 'node:path';
import {
  badLinesDetail,
  MAX_REPORTED,
  NO_EXAMPLES_DETAIL,
  type RowFault,
} from '../../src/rows/file-fault.ts';
import type { Line } from '../../src/rows/lines.ts';
import { parseRow, RowError } from '../../src/rows/row-schema.ts';
import type { RowEncoder } from './encode-row.ts';
import { countTrained, DatasetError, type Example, fingerprint, truncate } from './example.ts';
import { readLines } from './lines.ts';

export interface DatasetCounts {
  readonly examples: number;
  readonly tokens: number;
  /** Tokens of which something is learned. */
  readonly trainedTokens: number;
  /** Examples that lost their end. */
  readonly truncated: number;
  /** Examples of which nothing is learned. */
  readonly masked: number;
  /** Examples that are the same as an earlier one. */
  readonly duplicates: number;
}

export interface Dataset {
  readonly examples: readonly Example[];
  /** By example. */
  readonly fingerprints: readonly string[];
  readonly counts: DatasetCounts;
}

export interface LoadOptions {
  readonly encode: RowEncoder;
  readonly maxLength: number;
}

/** Examples are kept in memory, about 700 bytes apart from their tokens. */
const MAX_EXAMPLES = 1_000_000;
/** 8 bytes each in memory. */
const MAX_TOKENS = 2 ** 28;

/** @throws DatasetError with the first ten bad lines, or where the file holds nothing to learn from */
export async function loadDataset(
  file: string,
  { encode, maxLength }: LoadOptions,
): Promise<Dataset> {
  const name = path.basename(file);
  const faults: RowFault[] = [];
  let badLines = 0;
  const examples: Example[] = [];
  let truncated = 0;
  let tokens = 0;
  for await (const line of readLines(file)) {
    const whole = encodeLine(line, encode);
    if (typeof whole === 'string') {
      badLines++;
      if (faults.length < MAX_REPORTED) faults.push({ line: line.number, message: whole });
    }
    if (typeof whole === 'string' || badLines > 0) continue;
    const example = truncate(whole, maxLength);
    if (example !== whole) truncated++;
    tokens += example.ids.length;
    examples.push(example);
    if (examples.length > MAX_EXAMPLES || tokens > MAX_TOKENS) {
      const limit = `${MAX_EXAMPLES} examples or ${MAX_TOKENS} tokens`;
      throw new DatasetError(name, `holds more than ${limit}`);
    }
  }
  if (badLines > 0) throw new DatasetError(name, badLinesDetail(badLines), { faults, badLines });
  if (examples.length === 0) throw new DatasetError(name, NO_EXAMPLES_DETAIL);
  return describeExamples(examples, truncated);
}

/** Counts over examples that are in memory. */
export function describeExamples(examples: readonly Example[], truncated: number): Dataset {
  const fingerprints = examples.map(fingerprint);
  const trained = examples.map(countTrained);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    examples,
    fingerprints,
    counts: {
      examples: examples.length,
      tokens: sum(examples.map(({ ids }) => ids.length)),
      trainedTokens: sum(trained),
      truncated,
      masked: trained.filter((count) => count === 0).length,
      duplicates: examples.length - new Set(fingerprints).size,
    },
  };
}

function encodeLine({ text, fault }: Line, encode: RowEncoder): Example | string {
  if (text === undefined) return fault ?? 'cannot be read';
  try {
    return encode(parseRow(text));
  } catch (error) {
    if (error instanceof RowError) return error.message;
    throw error;
  }
}
