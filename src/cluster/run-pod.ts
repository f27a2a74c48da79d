// A pod's program, from the attempt's record to the exit code: fetches what the run reads, starts or resumes the run, and
// forwards the trainer's messages. Publishes nothing and makes no calls to the cluster: the record says whether the run is
// still wanted.
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from '../common/folders.ts';
import type { Logger } from '../common/log.ts';
import { type Backoff, retry } from '../common/waiting.ts';
import type { Fault } from '../contracts/training-messages.ts';
import { type JobRunner, type RunEnd, RunStop, type TrainerJob } from '../jobs/runner.ts';
import { fetchFile } from '../jobs/stored-files.ts';
import { type Attempt, type AttemptRecord, inputKey } from './attempt.ts';
import { MessageWriter } from './messages.ts';

/** Settings of a pod. */
interface PodOptions {
  readonly attempt: Attempt;
  /** A folder that only this pod uses. It is emptied at the start. */
  readonly dir: string;
  /** Finds the base that the pod's image or settings name. */
  readonly findBase: () => Promise<{ readonly dir: string; readonly digest: string }>;
  readonly runner: Pick<JobRunner, 'run'>;
  /** Aborts when the cluster asks the pod to end. */
  readonly signal: AbortSignal;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Milliseconds between batches of steps. */
  readonly flushMs?: number;
  /** Milliseconds between reads of the attempt's record. */
  readonly recordMs?: number;
}

/**
 * Exit codes. `interrupted` is 128 plus SIGTERM's number: after a disruption, the Job replaces a pod that exits with a code
 * other than 0.
 */
export const POD_EXIT = { done: 0, failed: 1, interrupted: 143 } as const;

/** Frequent enough for curves to look live; an hour of training writes only a few thousand objects. */
const FLUSH_MS = 2_000;
const RECORD_MS = 15_000;
const MAX_START_TRIES = 10;
const START_BACKOFF: Backoff = { firstMs: 1_000, longestMs: 30_000 };

/** Runs a pod and returns its exit code. Throws the error of the store or of `findBase`. */
export function runPod(options: PodOptions): Promise<number> {
  return work(options).catch((error) => {
    if (options.signal.aborted) return POD_EXIT.interrupted;
    throw error;
  });
}

async function work(options: PodOptions): Promise<number> {
  const { attempt, dir, log, signal } = options;
  const record = await retryStore(() => attempt.read(), options);
  if (!record?.isOpen) {
    log.warn({ attempt: attempt.prefix }, 'stopping: the run is not wanted any more');
    return POD_EXIT.done;
  }
  const runDir = path.join(dir, 'run');
  const last = await retryStore(() => attempt.lastBatch(), options);
  const pod = new Pod(options, { record, runDir, last });
  await rm(dir, { recursive: true, force: true });
  await makeFolder(dir);
  const { job, fault } = await prepare(record, options);
  if (fault) return pod.end({ kind: 'failed', error: fault });
  if (signal.aborted) return POD_EXIT.interrupted;
  const isResume = await retryStore(() => attempt.archive.restore(runDir, { signal }), options);
  return pod.run(job, isResume);
}

type Prepared =
  | { readonly job: TrainerJob; readonly fault?: undefined }
  | { readonly job?: undefined; readonly fault: Fault };

/** Fetches the inputs and returns the trainer's job with this machine's paths. */
async function prepare(
  record: AttemptRecord,
  { attempt, dir, findBase, log }: PodOptions,
): Promise<Prepared> {
  const base = await findBase();
  if (base.digest !== record.baseDigest) {
    log.error({ expected: record.baseDigest, found: base.digest }, 'this pod has another base');
    const message = 'The trainer’s machine has a different base model from the server’s.';
    return { fault: { code: 'base_mismatch', message, param: null } };
  }
  const job: Record<string, unknown> = { ...record.job, model: base.dir };
  for (const file of record.inputs) {
    const folder = path.join(dir, 'inputs', file.key);
    const target = path.join(folder, file.name);
    const from = inputKey({ tenant: record.tenant, id: record.jobId }, file.sha256);
    const isThere = await fetchFile(attempt.store, from, { file, target, call: {} });
    job[file.key] = file.key === 'initAdapter' ? folder : target;
    if (isThere) continue;
    const message = `An input of the run (${file.key}) is missing or damaged in the store.`;
    return { fault: { code: 'training_failed', message, param: null } };
  }
  return { job };
}

/** Retries for about a minute, because the network of a new pod may not be ready. */
function retryStore<T>(
  work: () => Promise<T>,
  { log, signal }: Pick<PodOptions, 'log' | 'signal'>,
): Promise<T> {
  const isRetryable = (error: unknown) => {
    log.warn({ err: error }, 'the store does not answer');
    return true;
  };
  return retry(work, { ...START_BACKOFF, maxTries: MAX_START_TRIES, signal, isRetryable });
}

/** Runs the trainer of a pod. */
class Pod {
  readonly #options: PodOptions;
  readonly #record: AttemptRecord;
  readonly #runDir: string;
  readonly #writer: MessageWriter;
  readonly #stop = new RunStop();

  constructor(
    options: PodOptions,
    { record, runDir, last }: { record: AttemptRecord; runDir: string; last: number },
  ) {
    const { attempt, log, flushMs = FLUSH_MS } = options;
    this.#options = options;
    this.#record = record;
    this.#runDir = runDir;
    this.#writer = new MessageWriter({
      attempt,
      runDir,
      last,
      log,
      flushMs,
      onStuck: (reason) => {
        log.error({ reason }, 'messages cannot be written; the run is cancelled');
        this.#stop.request('cancel');
      },
    });
  }

  async run(job: TrainerJob, isResume: boolean): Promise<number> {
    const { runner, signal, recordMs = RECORD_MS } = this.#options;
    const { jobId, tenant, token: fencingToken, gate } = this.#record;
    const request = { jobId, tenant, fencingToken, runDir: this.#runDir, job, gate, isResume };
    const watch = setInterval(() => void this.#cancelIfUnwanted(), recordMs);
    const pause = () => void this.#pause();
    signal.addEventListener('abort', pause);
    if (signal.aborted) pause();
    let end: RunEnd | undefined;
    for await (const message of runner.run(request, this.#stop.signals)) {
      if (message.type === 'end') end = message.end;
      else await this.#writer.write(message);
    }
    clearInterval(watch);
    signal.removeEventListener('abort', pause);
    if (!end || end.kind === 'cancelled' || end.kind === 'detached') return POD_EXIT.failed;
    return this.end(end);
  }

  /** Writes the end of the run, unless it was paused, because another pod then continues. */
  async end(end: RunEnd): Promise<number> {
    const isPaused = end.kind === 'paused';
    const isWritten = await this.#writer.close(isPaused ? undefined : end);
    if (!isWritten) return POD_EXIT.failed;
    if (isPaused) return POD_EXIT.interrupted;
    return end.kind === 'succeeded' ? POD_EXIT.done : POD_EXIT.failed;
  }

  /** Ends with a checkpoint, if another pod will continue from it. */
  async #pause(): Promise<void> {
    await this.#cancelIfUnwanted();
    this.#stop.request('pause');
  }

  async #cancelIfUnwanted(): Promise<void> {
    const { attempt, log } = this.#options;
    try {
      if ((await attempt.read())?.isOpen) return;
    } catch (error) {
      log.warn({ err: error }, 'the store does not answer');
      return;
    }
    log.warn({ attempt: attempt.prefix }, 'stopping: the run is not wanted any more');
    this.#stop.request('cancel');
  }
}
