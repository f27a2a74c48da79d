// Collects the results of lines and commits them in parts: the lines go to the store first, then the record says that they are
// answered. A part that is not in the record does not count, and its lines are answered again.
import type { RecordLease } from '../jobs/lease.ts';
import {
  addUsage,
  type BatchPart,
  type BatchRecord,
  type BatchUsage,
  NO_USAGE,
  withPart,
} from './batch.ts';
import type { BatchLine } from './batch-input.ts';
import type { BatchStore, ResultKind } from './batch-store.ts';
import type { BatchesContext, LineResponse } from './context.ts';

/** Parts beyond this size take too much memory. */
const PART_BYTES = 4 * 2 ** 20;
/** A part at least this long after the last one, in ms. */
const PART_MS = 1_000;
/** Later parts also wait for this share of the time so far, so that a slow batch has a few hundred parts. A kill costs no more. */
const PART_SHARE = 0.01;

interface Collected {
  readonly lines: Record<ResultKind, string[]>;
  readonly indexes: number[];
  usage: BatchUsage;
  byteSize: number;
}

interface PendingPart {
  readonly part: BatchPart;
  readonly lines: Collected['lines'];
}

const nothing = (): Collected => ({
  lines: { output: [], errors: [] },
  indexes: [],
  usage: NO_USAGE,
  byteSize: 0,
});

type ResultsContext = Pick<BatchesContext, 'clock'> & {
  readonly batches: Pick<BatchStore, 'putPart'>;
};

/** The results of one lease. */
export class BatchResults {
  readonly #lease: RecordLease<BatchRecord>;
  readonly #context: ResultsContext;
  readonly #beganMs: number;
  #partMs: number;
  #collected = nothing();
  #seq = 0;
  /** A part that is not known to be in the record. It must be before the next one. */
  #pending: PendingPart | undefined;
  /** Commits run one at a time. */
  #committing: Promise<void> = Promise.resolve();

  constructor(lease: RecordLease<BatchRecord>, context: ResultsContext) {
    this.#lease = lease;
    this.#context = context;
    this.#beganMs = context.clock.now();
    this.#partMs = this.#beganMs;
  }

  /** Adds the result of a line. */
  add(line: BatchLine, { status, requestId, body }: LineResponse): void {
    const id = requestIdOf(this.#lease.record, line);
    const head = JSON.stringify({ id, custom_id: line.customId }).slice(0, -1);
    const response = `{"status_code":${status},"request_id":${JSON.stringify(requestId)},"body":${body}}`;
    const text = `${head},"response":${response},"error":null}`;
    const isOk = status === 200;
    const { lines, indexes } = this.#collected;
    lines[isOk ? 'output' : 'errors'].push(text);
    indexes.push(line.index);
    this.#collected.byteSize += text.length;
    if (isOk) this.#collected.usage = addUsage(this.#collected.usage, usageOf(body));
  }

  /** Whether it is time for the next part. */
  get isDue(): boolean {
    const { byteSize, indexes } = this.#collected;
    if (byteSize >= PART_BYTES) return true;
    const nowMs = this.#context.clock.now();
    const waitMs = Math.max(PART_MS, PART_SHARE * (nowMs - this.#beganMs));
    return indexes.length > 0 && nowMs - this.#partMs >= waitMs;
  }

  /** Commits everything that was added. Throws `LeaseLost` or the store's error; nothing is lost then. */
  commit(): Promise<void> {
    const committed = this.#committing.then(async () => {
      if (this.#pending) await this.#commitPending();
      if (this.#collected.indexes.length === 0) return;
      this.#pending = this.#toPart();
      await this.#commitPending();
    });
    this.#committing = committed.catch(() => {});
    return committed;
  }

  #toPart(): PendingPart {
    const { lines, indexes, usage } = this.#collected;
    this.#collected = nothing();
    this.#partMs = this.#context.clock.now();
    const counts = { completed: lines.output.length, failed: lines.errors.length };
    return { lines, part: { seq: this.#seq++, lines: indexes, ...counts, usage } };
  }

  async #commitPending(): Promise<void> {
    const { part, lines } = this.#pending!;
    const { fencingToken, lost: signal, record } = this.#lease;
    const name = { fencingToken, seq: part.seq };
    await this.#context.batches.putPart(record, name, lines, { signal });
    await this.#lease.change((batch) => withPart(batch, part));
    this.#pending = undefined;
  }
}

/** Returns the result of a line that was not answered. */
export function unansweredResult(
  batch: Pick<BatchRecord, 'id' | 'status'>,
  line: BatchLine,
): string {
  const error =
    batch.status === 'cancelling'
      ? { code: 'batch_cancelled', message: 'The batch was cancelled before this request ran.' }
      : {
          code: 'batch_expired',
          message: 'This request could not be executed before the completion window expired.',
        };
  const id = requestIdOf(batch, line);
  return JSON.stringify({ id, custom_id: line.customId, response: null, error });
}

/** The same line always gets the same id. */
function requestIdOf({ id }: Pick<BatchRecord, 'id'>, { index }: BatchLine): string {
  return `batch_req_${id.replace('batch-', '')}${String(index).padStart(6, '0')}`;
}

/** The usage objects of all endpoints. */
interface AnyUsage {
  readonly prompt_tokens?: number;
  readonly completion_tokens?: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
  readonly input_tokens?: number;
  readonly output_tokens?: number;
  readonly input_tokens_details?: { readonly cached_tokens?: number };
}

function usageOf(body: string): BatchUsage {
  const { usage = {} } = JSON.parse(body) as { readonly usage?: AnyUsage | null };
  const { prompt_tokens_details, input_tokens_details } = usage ?? {};
  const details = input_tokens_details ?? prompt_tokens_details;
  return {
    inputTokens: usage?.input_tokens ?? usage?.prompt_tokens ?? 0,
    cachedTokens: details?.cached_tokens ?? 0,
    outputTokens: usage?.output_tokens ?? usage?.completion_tokens ?? 0,
  };
}
