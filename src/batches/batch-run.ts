// Works on one batch under its lease: checks its file, answers its lines, commits their results in parts, and writes the files
// with the results. The next owner of the lease continues after the last part in the record.
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ServeError } from '../common/errors.ts';
import { makeFolder } from '../common/folders.ts';
import { type Backoff, backoffMs, every, sleep } from '../common/waiting.ts';
import { LeaseLost, type RecordLease } from '../jobs/lease.ts';
import type { Task } from '../jobs/lease-worker.ts';
import { advanceBatch, type BatchFault, type BatchRecord, failBatch, isAnswered } from './batch.ts';
import { type BatchLine, checkBatchInput, readBatchLines } from './batch-input.ts';
import { BatchResults } from './batch-results.ts';
import type { BatchesContext, LineResponse } from './context.ts';
import { writeResultFiles } from './result-files.ts';

/** Code → how often a line is tried if its answer has this error code. Others are final: the line itself is at fault. */
const TRIES: Readonly<Record<string, number>> = {
  overloaded: Number.POSITIVE_INFINITY,
  engine_restarting: Number.POSITIVE_INFINITY,
  store_unavailable: Number.POSITIVE_INFINITY,
  rate_limit_exceeded: Number.POSITIVE_INFINITY,
  adapter_unavailable: 10,
};
const RETRY: Backoff = { firstMs: 50, longestMs: 2_000 };

/** A reason for which the batch fails as a whole. */
class BatchFailure extends Error {
  override name = 'BatchFailure';
  readonly faults: readonly BatchFault[];

  constructor(faults: readonly BatchFault[]) {
    super(faults[0]?.message);
    this.faults = faults;
  }
}

function failure(code: string, message: string, param: string | null): BatchFailure {
  return new BatchFailure([{ code, message, line: null, param }]);
}

/** This server's work on a batch. */
export class BatchRun implements Task {
  readonly #lease: RecordLease<BatchRecord>;
  readonly #context: BatchesContext;
  readonly #results: BatchResults;
  readonly #folder: string;
  /** Aborted when this server has to leave the batch to the next one. */
  readonly #leave = new AbortController();
  /** Aborted when no more lines are to be answered. */
  readonly #halt = new AbortController();

  constructor(lease: RecordLease<BatchRecord>, context: BatchesContext) {
    const { fencingToken } = lease;
    this.#lease = lease;
    this.#context = context;
    this.#results = new BatchResults(lease, context);
    this.#folder = path.join(context.root, `${lease.record.id}-${fencingToken}`);
    this.#leave.signal.addEventListener('abort', () => this.#halt.abort());
    lease.lost.addEventListener('abort', () => this.#leave.abort());
  }

  async run(): Promise<void> {
    const { timing, clock, now } = this.#context;
    const endRenewal = every(timing.renewMs, () => void this.refresh(), clock);
    const leftMs = Math.max(0, this.#lease.record.expiresMs - now());
    const cancelExpiry = clock.schedule(leftMs, () => this.#halt.abort());
    try {
      await this.#work();
    } catch (error) {
      if (error instanceof LeaseLost || this.#lease.lost.aborted) return;
      if (error instanceof BatchFailure) await this.#fail(error.faults);
      else if (this.#leave.signal.aborted) await this.#release();
      else throw error;
    } finally {
      endRenewal();
      cancelExpiry();
      await rm(this.#folder, { recursive: true, force: true });
    }
  }

  /** Renews the lease, commits results if it is time, and acts on the record. */
  async refresh(): Promise<void> {
    try {
      if (this.#results.isDue) await this.#results.commit();
      else await this.#lease.change();
      this.#obeyRecord();
    } catch (error) {
      if (!(error instanceof LeaseLost))
        this.#context.log.warn({ err: error }, 'batch not written');
    }
  }

  stop(): void {
    this.#leave.abort();
  }

  kill(): void {
    this.#leave.abort();
  }

  #obeyRecord(): void {
    if (this.#lease.record.status === 'cancelling') this.#halt.abort();
  }

  get #status(): BatchRecord['status'] {
    return this.#lease.record.status;
  }

  async #work(): Promise<void> {
    const input = await this.#fetchInput();
    if (this.#status === 'validating') await this.#validate(input);
    if (this.#status === 'in_progress') await this.#answerLines(input);
    const { signal } = this.#leave;
    const context = { ...this.#context, folder: this.#folder };
    const files = await writeResultFiles(this.#lease, context, { input, signal });
    await this.#lease.release((batch) => {
      const action = files.hasUnanswered ? 'expire' : 'complete';
      const ended = advanceBatch(batch, action, this.#context.now());
      return ended && { ...ended, ...files.ids };
    });
  }

  async #release(): Promise<void> {
    await this.#results.commit();
    await this.#lease.release();
  }

  async #fail(faults: readonly BatchFault[]): Promise<void> {
    await this.#lease.release((batch) => failBatch(batch, faults, this.#context.now()));
  }

  /** Fetches the input file. Throws `BatchFailure` if it is gone. */
  async #fetchInput(): Promise<string> {
    const { tenant, inputFile } = this.#lease.record;
    const { signal } = this.#leave;
    const target = path.join(this.#folder, 'input.jsonl');
    await makeFolder(this.#folder);
    try {
      const { body } = await this.#context.files.open(tenant, inputFile, { signal });
      await pipeline(body, createWriteStream(target), { signal });
      return target;
    } catch (error) {
      if (!(error instanceof ServeError) || error.code !== 'not_found') throw error;
      const message = `The file ${inputFile} no longer exists. Upload it again, and create a new batch.`;
      throw failure('input_file_gone', message, 'input_file_id');
    }
  }

  async #validate(input: string): Promise<void> {
    const { maxLines, now } = this.#context;
    const { signal } = this.#leave;
    const checked = await checkBatchInput(input, this.#lease.record, { maxLines, signal });
    if ('faults' in checked) throw new BatchFailure(checked.faults);
    const { total, model } = checked;
    await this.#lease.change((batch) => {
      const started = advanceBatch(batch, 'start', now()) ?? batch;
      return { ...started, total, ...(model !== undefined && { model }) };
    });
  }

  /** Answers the lines that the record does not list as answered, and commits all results. */
  async #answerLines(input: string): Promise<void> {
    const { cursor } = this.#lease.record;
    const inFlight = new Set<Promise<void>>();
    let firstError: unknown;
    const onError = (error: unknown) => {
      firstError ??= error;
      this.#halt.abort();
    };
    for await (const line of readBatchLines(input)) {
      if (isAnswered(cursor, line.index)) continue;
      while (inFlight.size >= this.#context.maxInFlight()) await Promise.race(inFlight);
      if (this.#halt.signal.aborted) break;
      const answered = this.#answer(line).catch(onError);
      inFlight.add(answered);
      void answered.finally(() => inFlight.delete(answered));
    }
    await Promise.all(inFlight);
    this.#leave.signal.throwIfAborted();
    if (firstError !== undefined) throw firstError;
    await this.#results.commit();
    await this.#lease.change((batch) => advanceBatch(batch, 'finalize', this.#context.now()));
  }

  /** Answers a line, unless the batch is halted first. */
  async #answer(line: BatchLine): Promise<void> {
    const { signal } = this.#halt;
    for (let tries = 1; ; tries++) {
      const response = await this.#send(line, signal);
      if (signal.aborted) return;
      if (tries >= triesFor(response)) {
        this.#results.add(line, response);
        // After a failure the results stay for the next commit. A store that is away for longer costs the lease.
        if (this.#results.isDue) await this.refresh();
        return;
      }
      const { clock } = this.#context;
      await sleep(backoffMs(tries, RETRY, clock.random), { signal, clock }).catch(() => {});
    }
  }

  async #send({ body }: BatchLine, signal: AbortSignal): Promise<LineResponse> {
    const { answer, tenantOf, now } = this.#context;
    const { tenant: id, endpoint: url, expiresMs } = this.#lease.record;
    const tenant = tenantOf(id);
    if (!tenant)
      throw failure('invalid_api_key', `The tenant ${id} has no API key any more.`, null);
    const timeoutMs = Math.max(1, expiresMs - now());
    // A batch has its own limits, and runs only in time that nobody else wants.
    const payer = { ...tenant, limits: {}, isIdle: true } as const;
    return answer({ tenant: payer, url, body, timeoutMs, signal });
  }
}

/** Returns how often a line is tried that got this response. */
function triesFor({ status, body }: LineResponse): number {
  if (status !== 429 && status !== 503) return 1;
  const { error } = JSON.parse(body) as { readonly error: { readonly code: string } };
  return TRIES[error.code] ?? 1;
}
