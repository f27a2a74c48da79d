// Quickly checks the rows of a training file when a job is created, so that a client learns immediately of a wrong file. Needs
// no tokenizer and no model: the job checks the rest.

import { setImmediate } from 'node:timers/promises';
import { ServeError } from '../common/errors.ts';
import { type Clock, deadline } from '../common/waiting.ts';
import {
  badLinesDetail,
  type DatasetParam,
  type FileFault,
  fileFault,
  MAX_REPORTED,
  NO_EXAMPLES_DETAIL,
  type TrainingRowFault,
  tooFewDetail,
} from '../rows/file-fault.ts';
import { type Line, splitLines } from '../rows/lines.ts';
import { parseRow, TrainingRowError } from '../rows/row-schema.ts';
import type { JobsContext } from './create-jobs.ts';
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

interface RowCheckResult {
  readonly faults: readonly TrainingRowFault[];
  readonly badLines: number;
  readonly examples: number;
  /** Whether every line of the file was checked. */
  readonly isWhole: boolean;
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
  async check(tenant: string, meta: FileMeta, param: DatasetParam): Promise<void> {
    const endMs = this.#clock.now() + this.#limits.timeMs;
    const result = this.#last.then(() => this.#read(tenant, meta.id, endMs));
    this.#last = result.catch(() => {});
    const wrong = judge(await result, param);
    if (!wrong) return;
    const { message } = fileFault({ ...wrong, param, file: `${meta.filename} (${meta.id})` });
    throw new ServeError(wrong.code, message, { param });
  }

  async #read(tenant: string, id: string, endMs: number): Promise<RowCheckResult> {
    const leftMs = endMs - this.#clock.now();
    const tally = new Tally();
    if (leftMs <= 0) return tally.result(false);
    using late = deadline(leftMs, new BoundReached(), { clock: this.#clock });
    const { signal } = late;
    try {
      const { body } = await this.#files.open(tenant, id, { signal });
      const lines = splitLines(bounded(body, this.#limits.maxBytes), MAX_LINE_BYTES);
      let sliceEndMs = this.#clock.now() + SLICE_MS;
      for await (const line of lines) {
        tally.add(line);
        const nowMs = this.#clock.now();
        if (nowMs >= endMs) return tally.result(false);
        if (nowMs < sliceEndMs) continue;
        await setImmediate();
        sliceEndMs = this.#clock.now() + SLICE_MS;
      }
      return tally.result(true);
    } catch (error) {
      if (!signal.aborted && !(error instanceof BoundReached)) throw error;
      return tally.result(false);
    }
  }
}

class Tally {
  readonly #faults: TrainingRowFault[] = [];
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

  result(isRead: boolean): RowCheckResult {
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
    if (error instanceof TrainingRowError) return error.message;
    throw error;
  }
}

/** Returns undefined if nothing is wrong with the part that was read. */
function judge(
  { faults, badLines, examples, isWhole }: RowCheckResult,
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

/** A limit was reached before the end of the file. */
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
