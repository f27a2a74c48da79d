// Loads a training file as examples, with counts. Before training starts, all bad rows are counted and the first ten reported.

import path from 'node:path';
import type { Objective } from '../../src/contracts/preference-settings.ts';
import type { FileDigest } from '../../src/contracts/training-origin.ts';
import { constraintCompiler } from '../../src/grammar/compiler.ts';
import { GrammarError } from '../../src/grammar/grammar-error.ts';
import { BadLines, badLinesDetail, NO_EXAMPLES_DETAIL } from '../../src/rows/file-fault.ts';
import type { Line } from '../../src/rows/lines.ts';
import {
  parseRow,
  RowNotes,
  type TrainingRow,
  TrainingRowError,
} from '../../src/rows/row-schema.ts';
import { argumentsOf } from '../../src/tools/call-constraint.ts';
import {
  countTokens,
  countTrained,
  DatasetError,
  type Example,
  fingerprint,
  truncateExample,
} from './example.ts';
import { ReadBytes, readLines } from './training-lines.ts';

/** Encodes a row. Throws `TrainingRowError` if the model cannot be trained on it. */
export type RowEncoder = (row: TrainingRow) => Example;

/** Counts of a file. */
interface DatasetCounts {
  readonly examples: number;
  readonly tokens: number;
  /** Tokens that the loss covers. */
  readonly trainedTokens: number;
  /** Examples that were truncated to the maximum length. */
  readonly truncated: number;
  /** Examples without a trained token. */
  readonly masked: number;
  /** Examples that repeat an earlier one. */
  readonly duplicates: number;
}

/** The examples of a file. */
export interface Dataset {
  readonly examples: readonly Example[];
  /** One per example. */
  readonly fingerprints: readonly string[];
  readonly counts: DatasetCounts;
}

/** The examples of a file, the digest of its bytes, and what its rows were like. */
export interface FileDataset extends Dataset {
  readonly file: FileDigest;
  readonly notes: RowNotes;
}

/** Options of the conversion from rows to examples. */
export interface LoadOptions {
  readonly encode: RowEncoder;
  readonly maxLength: number;
  /** Absent: rows are parsed by their keys. */
  readonly objective?: Objective | undefined;
}

/** An example takes about 700 bytes of memory in addition to its tokens. */
const MAX_EXAMPLES = 1_000_000;
/** A token takes 8 bytes of memory. */
const MAX_TOKENS = 2 ** 28;

/** Loads a file. @throws DatasetError with the first ten bad lines, or if the file has no examples or too many */
export async function loadDataset(
  file: string,
  { encode, maxLength, objective }: LoadOptions,
): Promise<FileDataset> {
  const name = path.basename(file);
  const badLines = new BadLines();
  const examples: Example[] = [];
  let truncated = 0;
  let tokens = 0;
  const read = new ReadBytes();
  const notes = new RowNotes();
  for await (const line of readLines(file, read)) {
    const whole = await encodeLine(line, { encode, objective, notes });
    if (whole instanceof TrainingRowError) badLines.add(line.number, whole.message);
    if (whole instanceof TrainingRowError || badLines.count > 0) continue;
    const example = truncateExample(whole, maxLength);
    if (example !== whole) truncated++;
    tokens += countTokens(example);
    examples.push(example);
    if (examples.length > MAX_EXAMPLES || tokens > MAX_TOKENS) {
      const limit = `${MAX_EXAMPLES} examples or ${MAX_TOKENS} tokens`;
      throw new DatasetError(
        name,
        `holds more than ${limit}. Use fewer rows, or split the file into several runs`,
      );
    }
  }
  const { count, faults } = badLines;
  if (count > 0) throw new DatasetError(name, badLinesDetail(count), { faults, badLines: count });
  if (examples.length === 0) throw new DatasetError(name, NO_EXAMPLES_DETAIL);
  return { ...describeExamples(examples, truncated), file: read.digest(), notes };
}

/** Counts examples. */
export function describeExamples(examples: readonly Example[], truncated: number): Dataset {
  const fingerprints = examples.map(fingerprint);
  const trained = examples.map(countTrained);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    examples,
    fingerprints,
    counts: {
      examples: examples.length,
      tokens: sum(examples.map(countTokens)),
      trainedTokens: sum(trained),
      truncated,
      masked: trained.filter((count) => count === 0).length,
      duplicates: examples.length - new Set(fingerprints).size,
    },
  };
}

async function encodeLine(
  { text, fault }: Line,
  { encode, objective, notes }: Pick<LoadOptions, 'encode' | 'objective'> & { notes: RowNotes },
): Promise<Example | TrainingRowError> {
  if (text === undefined) return new TrainingRowError(fault ?? 'cannot be read');
  try {
    const example = encode(parseRow(text, { objective, notes }));
    await refuseUnusableTools(example);
    return example;
  } catch (error) {
    if (error instanceof TrainingRowError) return error;
    throw error;
  }
}

/** Rejects with `TrainingRowError` if the arguments of a tool cannot be constrained. The compiler remembers earlier ones. */
async function refuseUnusableTools({ tools = [] }: Pick<Example, 'tools'>): Promise<void> {
  for (const [i, tool] of tools.entries()) {
    await constraintCompiler.compile(argumentsOf(tool)).catch((error) => {
      if (!(error instanceof GrammarError)) throw error;
      throw new TrainingRowError(
        `tools[${i}].function.parameters: ${`${error.path} ${error.message}`.trim()}`,
      );
    });
  }
}
