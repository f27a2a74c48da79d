// Checks the rows of an uploaded file before a job is made of it, as far as that takes little time: whoever sent a wrong
// file is told at once. It needs no tokenizer and no model; the job itself checks the rest.
import { setImmediate } from 'node:timers/promises';
import { ServeError } from '../common/errors.ts';
import {
  badLinesDetail,
  type DatasetParam,
  type FileFault,
  fileFault,
  MAX_REPORTED,
  NO_EXAMPLES_DETAIL,
  type RowFault,
  tooFewDetail,
} from '../rows/file-fault.ts';
import { type Line, splitLines } from '../rows/lines.ts';
import { parseRow, RowError } from '../rows/row-schema.ts';
import type { FileMeta, Files } from './files.ts';

/** A training file needs as many, as OpenAI's API has it. */
export const MIN_EXAMPLES = 10;

export interface RowCheckLimits {
  /** Milliseconds for one file, from when the check was asked for. */
  readonly timeMs: number;
  /** What follows in the file is left to the job. */
  readonly maxBytes: number;
}

/** A client waits for this; a file of 64 MiB is read in less from a local disk. */
const LIMITS: RowCheckLimits = { timeMs: 2_000, maxBytes: 64 * 2 ** 20 };
/** Parsing a longer line would hold up other requests for more than a few milliseconds. */
const MAX_LINE_BYTES = 64 * 1024;
/** Milliseconds of work between two turns of the event loop. */
const SLICE_MS = 3;

export interface RowCheckOptions {
  readonly files: Files;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  readonly limits?: Partial<RowCheckLimits> | undefined;
}

interface Found {
  readonly faults: readonly RowFault[];
  readonly badLines: number;
  readonly examples: number;
  /** Whether every line of the file was checked. */
  readonly isWhole: boolean;
}

export class RowChecks {
  readonly #files: Files;
  readonly #clock: () => number;
  readonly #limits: RowCheckLimits;
  /** One at a time: many requests at once do not take more of the event loop than one. */
  #last: Promise<unknown> = Promise.resolve();

  constructor({ files, clock, limits }: RowCheckOptions) {
    this.#files = files;
    this.#clock = clock;
    this.#limits = { ...LIMITS, ...limits };
  }

  /**
   * Throws `ServeError` (400, `invalid_training_file` or `invalid_n_examples`) if the file has bad lines or too few.
   * Resolves if none was found within the limits.
   */
  async check(tenant: string, meta: FileMeta, param: DatasetParam): Promise<void> {
    const endMs = this.#clock() + this.#limits.timeMs;
    const found = this.#last.then(() => this.#read(tenant, meta.id, endMs));
    this.#last = found.catch(() => {});
    const wrong = judge(await found, param);
    if (!wrong) return;
    const { message } = fileFault({ ...wrong, param, file: `${meta.filename} (${meta.id})` });
    throw new ServeError(wrong.code, message, { param });
  }

  async #read(tenant: string, id: string, endMs: number): Promise<Found> {
    const leftMs = endMs - this.#clock();
    const tally = new Tally();
    if (leftMs <= 0) return tally.found(false);
    const signal = AbortSignal.timeout(Math.ceil(leftMs));
    try {
      const { body } = await this.#files.open(tenant, id, { signal });
      const lines = splitLines(bounded(body, this.#limits.maxBytes), MAX_LINE_BYTES);
      let sliceEndMs = this.#clock() + SLICE_MS;
      for await (const line of lines) {
        tally.add(line);
        const nowMs = this.#clock();
        if (nowMs >= endMs) return tally.found(false);
        if (nowMs < sliceEndMs) continue;
        await setImmediate();
        sliceEndMs = this.#clock() + SLICE_MS;
      }
      return tally.found(true);
    } catch (error) {
      if (!signal.aborted && !(error instanceof BoundReached)) throw error;
      return tally.found(false);
    }
  }
}

class Tally {
  readonly #faults: RowFault[] = [];
  #badLines = 0;
  #examples = 0;
  #skipped = 0;

  add({ number, text, fault, isTooLong }: Line): void {
    this.#examples++;
    if (isTooLong) {
      this.#skipped++;
      return;
    }
    const message = text === undefined ? fault : rowFault(text);
    if (message === undefined) return;
    this.#badLines++;
    if (this.#faults.length < MAX_REPORTED) this.#faults.push({ line: number, message });
  }

  found(isRead: boolean): Found {
    return {
      faults: this.#faults,
      badLines: this.#badLines,
      examples: this.#examples,
      isWhole: isRead && this.#skipped === 0,
    };
  }
}

function rowFault(text: string): string | undefined {
  try {
    parseRow(text);
    return undefined;
  } catch (error) {
    if (error instanceof RowError) return error.message;
    throw error;
  }
}

/** Undefined: nothing is wrong as far as the file was read. */
function judge(
  { faults, badLines, examples, isWhole }: Found,
  param: DatasetParam,
): Omit<FileFault, 'file' | 'param'> | undefined {
  const code = 'invalid_training_file' as const;
  if (badLines > 0) return { code, detail: badLinesDetail(badLines, isWhole), faults, badLines };
  if (!isWhole) return undefined;
  const none = { faults, badLines };
  if (examples === 0) return { code, detail: NO_EXAMPLES_DETAIL, ...none };
  if (param === 'validation_file' || examples >= MIN_EXAMPLES) return undefined;
  return { code: 'invalid_n_examples', detail: tooFewDetail(examples, MIN_EXAMPLES), ...none };
}

/** Not an end of the file: its last line was not read to its end. */
class BoundReached extends Error {}

/** Throws `BoundReached` in place of the chunk that exceeds the bound. */
async function* bounded(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  let byteSize = 0;
  for await (const chunk of chunks) {
    byteSize += chunk.length;
    if (byteSize > maxBytes) throw new BoundReached();
    yield chunk;
  }
}
