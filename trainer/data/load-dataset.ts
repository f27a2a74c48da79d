// Loads a training file as examples, with counts. Before training starts, all bad rows are counted and the first ten reported.

import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { Objective } from '../../src/contracts/preference-settings.ts';
import type { FileDigest } from '../../src/contracts/training-origin.ts';
import { BadLines, badLinesDetail, NO_EXAMPLES_DETAIL } from '../../src/rows/file-fault.ts';
import { type Line, splitLines } from '../../src/rows/lines.ts';
import { parseRow, type TrainingRow, TrainingRowError } from '../../src/rows/row-schema.ts';
import {
  countTokens,
  countTrained,
  DatasetError,
  type Example,
  fingerprint,
  truncateExample,
} from './example.ts';
import { refuseUnusableTools } from './row-tools.ts';

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

/** The examples of a file, and the digest of its bytes. */
export interface FileDataset extends Dataset {
  readonly file: FileDigest;
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
  for await (const line of readLines(file, read)) {
    const whole = await encodeLine(line, encode, objective);
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
  return { ...describeExamples(examples, truncated), file: read.digest() };
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
  encode: RowEncoder,
  objective: Objective | undefined,
): Promise<Example | TrainingRowError> {
  if (text === undefined) return new TrainingRowError(fault ?? 'cannot be read');
  try {
    const example = encode(parseRow(text, objective));
    await refuseUnusableTools(example);
    return example;
  } catch (error) {
    if (error instanceof TrainingRowError) return error;
    throw error;
  }
}

// Reads the lines of a training file.

/** Magic bytes of other kinds of files. */
const FOREIGN_STARTS: readonly (readonly [kind: string, bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zip', [0x50, 0x4b, 0x03, 0x04]],
  ['UTF-16 text', [0xff, 0xfe]],
  ['UTF-16 text', [0xfe, 0xff]],
];

/** Counts and hashes the bytes that are read from a file. */
class ReadBytes {
  readonly #hash = createHash('sha256');
  #byteSize = 0;

  /** Yields the chunks, and counts them. */
  async *count(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#hash.update(chunk);
      this.#byteSize += chunk.length;
      yield chunk;
    }
  }

  /** Returns the digest. Call it once, after the last chunk. */
  digest(): FileDigest {
    return { sha256: this.#hash.digest('hex'), byteSize: this.#byteSize };
  }
}

/**
 * Yields the non-blank lines.
 * @param read counts the bytes
 * @throws DatasetError if the file does not exist or is of another kind
 */
export async function* readLines(file: string, read = new ReadBytes()): AsyncGenerator<Line> {
  await refuseForeign(file);
  yield* splitLines(read.count(createReadStream(file)));
}

async function refuseForeign(file: string): Promise<void> {
  const name = path.basename(file);
  const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    (error: NodeJS.ErrnoException) => {
      throw new DatasetError(
        name,
        error.code === 'ENOENT'
          ? 'does not exist. Check its path: a relative one starts at the current folder, even in a job file'
          : `cannot be read (${error.code ?? error.message})`,
      );
    },
  );
  try {
    if (!(await handle.stat()).isFile()) throw new DatasetError(name, 'is not a file');
    const start = Buffer.alloc(4);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    for (const [kind, bytes] of FOREIGN_STARTS) {
      if (bytesRead >= bytes.length && bytes.every((byte, i) => start[i] === byte)) {
        throw new DatasetError(name, `is ${kind}, not JSON lines in UTF-8`);
      }
    }
  } finally {
    await handle.close();
  }
}
