// Quickly checks the rows of a training file when a job is created, so that a client learns immediately of a wrong file. Needs
// no tokenizer and no model: the job checks the rest, and Parquet files.

import { open } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { fieldError, ServeError } from '../common/errors.ts';
import { type Clock, deadline } from '../common/waiting.ts';
import type { UploadPurpose } from '../contracts/file-purposes.ts';
import type { Objective } from '../contracts/preference-settings.ts';
import { MAX_PROMPTS } from '../contracts/reinforcement-settings.ts';
import {
  BadLines,
  badLinesDetail,
  type DatasetParam,
  type FileFault,
  fileFault,
  NO_EXAMPLES_DETAIL,
  tooFewDetail,
  tooManyDetail,
} from '../rows/file-fault.ts';
import type { Line } from '../rows/lines.ts';
import { ParquetError, readRows, startFault } from '../rows/row-file.ts';
import {
  orRowError,
  parseRow,
  refuseOtherObjective,
  TrainingRowError,
} from '../rows/row-schema.ts';
import type { JobsContext } from './context.ts';
import type { FileMeta, Files } from './files.ts';

/** OpenAI's API requires this many examples in a training file. */
export const MIN_EXAMPLES = 10;

/** Limits of one check. */
export interface RowCheckLimits {
  /** Milliseconds from the call to the end of the check, including the wait for other checks. */
  readonly timeMs: number;
  /** The job checks the rest of the file. */
  readonly maxBytes: number;
}

/** A client waits for the check. A local disk reads 64 MiB in less time. */
const LIMITS: RowCheckLimits = { timeMs: 2_000, maxBytes: 64 * 2 ** 20 };
/** Parsing a longer line would block the event loop for more than a few milliseconds. */
const MAX_LINE_BYTES = 64 * 1024;
/** Milliseconds of work between two turns of the event loop. */
const SLICE_MS = 3;
/** Splitting this much takes about a slice, even if it is all blank lines. */
const PIECE_BYTES = 4096;

/** The lines of a file so far. */
interface RowCheckResult {
  readonly badLines: BadLines;
  examples: number;
  /** Whether every line of the file was checked. */
  isWhole: boolean;
}

/** How a job uses a file. */
interface RowUse {
  readonly param: DatasetParam;
  readonly objective: Objective;
}

interface RowFile extends Pick<RowUse, 'objective'> {
  readonly tenant: string;
  readonly id: string;
}

/** Rejects with `ServeError` (400) if an uploaded file does not begin as a file of rows does. */
export async function checkFileStart(path: string, purpose: UploadPurpose): Promise<void> {
  const file = await open(path);
  const isLines = purpose !== 'fine-tune';
  const fault = await startFault(file, { isLines }).finally(() => file.close());
  if (fault !== undefined) throw fieldError('file', fault);
}

/** Checks training files, one at a time. */
export class RowChecks {
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #limits: RowCheckLimits;
  /** One check at a time, so that many requests take no more of the event loop than one. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    { files, clock }: Pick<JobsContext, 'files' | 'clock'>,
    limits?: Partial<RowCheckLimits>,
  ) {
    this.#files = files;
    this.#clock = clock;
    this.#limits = { ...LIMITS, ...limits };
  }

  /**
   * Throws `ServeError` (400, `invalid_training_file` or `invalid_n_examples`) if the file has bad lines or too few. Resolves
   * if the check finds no fault within its limits.
   */
  async check(tenant: string, meta: FileMeta, { param, objective }: RowUse): Promise<void> {
    const endMs = this.#clock.now() + this.#limits.timeMs;
    const result = this.#last.then(() => this.#read({ tenant, id: meta.id, objective }, endMs));
    this.#last = result.catch(() => {});
    const checked = await result;
    const wrong = judge(checked, { param, objective });
    if (!wrong) return;
    const { message } = fileFault({ ...wrong, param, file: `${meta.filename} (${meta.id})` });
    const lines = checked.badLines.numbers;
    throw new ServeError(wrong.code, message, { param, ...(lines.length > 0 && { lines }) });
  }

  async #read({ tenant, id, objective }: RowFile, endMs: number): Promise<RowCheckResult> {
    const result: RowCheckResult = { badLines: new BadLines(), examples: 0, isWhole: true };
    const leftMs = endMs - this.#clock.now();
    if (leftMs <= 0) return { ...result, isWhole: false };
    using late = deadline(leftMs, new BoundReached(), { clock: this.#clock });
    const { signal } = late;
    try {
      const { body } = await this.#files.open(tenant, id, { signal });
      const slices = new Slices(this.#clock, endMs);
      const pieces = toPieces(body, this.#limits.maxBytes, slices);
      for await (const line of readRows(pieces, MAX_LINE_BYTES)) {
        addLine(result, line, objective);
        await slices.rest();
      }
      return result;
    } catch (error) {
      const isOfJob = error instanceof BoundReached || error instanceof ParquetError;
      if (!signal.aborted && !isOfJob) throw error;
      return { ...result, isWhole: false };
    }
  }
}

function addLine(
  result: RowCheckResult,
  { number, text, fault, isTooLong }: Line,
  objective: Objective,
): void {
  result.examples++;
  if (isTooLong) result.isWhole = false;
  if (isTooLong) return;
  const error =
    text === undefined
      ? undefined
      : orRowError(() => refuseOtherObjective(parseRow(text, { objective }), objective));
  const message = error instanceof TrainingRowError ? error.message : fault;
  if (message !== undefined) result.badLines.add(number, message);
}

/** Returns undefined if nothing is wrong with the part that was read. */
function judge(
  { badLines: { faults, count: badLines }, examples, isWhole }: RowCheckResult,
  { param, objective }: RowUse,
): Omit<FileFault, 'file' | 'param'> | undefined {
  const code = 'invalid_training_file' as const;
  if (badLines > 0) return { code, detail: badLinesDetail(badLines, isWhole), faults, badLines };
  const none = { faults, badLines };
  const excess = excessDetail(examples, { param, objective });
  if (excess !== undefined) return { code: 'invalid_n_examples', detail: excess, ...none };
  if (!isWhole) return undefined;
  if (examples === 0) return { code, detail: NO_EXAMPLES_DETAIL, ...none };
  if (param === 'validation_file' || examples >= MIN_EXAMPLES) return undefined;
  return { code: 'invalid_n_examples', detail: tooFewDetail(examples, MIN_EXAMPLES), ...none };
}

/** Returns the detail if a file has more rows than OpenAI's API takes, or undefined. */
export function excessDetail(examples: number, { param, objective }: RowUse): string | undefined {
  const most = objective === 'reinforcement' ? MAX_PROMPTS[param] : Number.POSITIVE_INFINITY;
  return examples > most ? tooManyDetail(examples, most) : undefined;
}

/** A limit was reached before the end of the file. */
class BoundReached extends Error {}

/** Gives the event loop a turn after each slice of work. */
class Slices {
  readonly #clock: Clock;
  readonly #endMs: number;
  #sliceEndMs: number;

  constructor(clock: Clock, endMs: number) {
    this.#clock = clock;
    this.#endMs = endMs;
    this.#sliceEndMs = clock.now() + SLICE_MS;
  }

  /** Waits if the slice is over. Throws `BoundReached` if the time is over. */
  async rest(): Promise<void> {
    const nowMs = this.#clock.now();
    if (nowMs >= this.#endMs) throw new BoundReached();
    if (nowMs < this.#sliceEndMs) return;
    await setImmediate();
    this.#sliceEndMs = this.#clock.now() + SLICE_MS;
  }
}

/** Yields a file in pieces with rests between them. Throws `BoundReached` in place of the chunk that exceeds the bound. */
async function* toPieces(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
  slices: Slices,
): AsyncGenerator<Uint8Array> {
  let byteSize = 0;
  for await (const chunk of chunks) {
    byteSize += chunk.length;
    if (byteSize > maxBytes) throw new BoundReached();
    for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
      yield chunk.subarray(start, start + PIECE_BYTES);
      await slices.rest();
    }
  }
}
