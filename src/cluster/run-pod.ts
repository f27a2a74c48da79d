// A pod's work, from its ticket to its exit code: brings what the run reads, goes on from the attempt's checkpoint or
// begins, and passes on what the trainer says. It publishes nothing and knows no cluster: whether anybody still wants
// the run, the ticket says.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Logger } from '../common/log.ts';
import type { Fault } from '../contracts/training.ts';
import type { JobRunner, RunEnd, RunningJob, TrainerJob } from '../jobs/runner.ts';
import { fetchFile } from '../jobs/stored-files.ts';
import { type Attempt, inputKey, type Ticket } from './attempt.ts';
import { MessageWriter } from './message-writer.ts';

export interface PodOptions {
  readonly attempt: Attempt;
  /** The pod's own: emptied at the start. */
  readonly dir: string;
  /** The base that this image or its settings name. */
  readonly findBase: () => Promise<{ readonly dir: string; readonly digest: string }>;
  /** Forks the trainer. */
  readonly runner: Pick<JobRunner, 'start'>;
  /** The cluster asks the pod to end. */
  readonly signal: AbortSignal;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Between two batches of steps. */
  readonly flushMs?: number;
  /** Between two looks at the ticket. */
  readonly ticketMs?: number;
}

/** `putBack`: 128 and SIGTERM's number. What is not 0 is a failed pod, which a disruption's rule makes replaceable. */
export const POD_EXIT = { done: 0, failed: 1, putBack: 143 } as const;

/** Curves are seen to move; an hour's run writes some thousand objects. */
const FLUSH_MS = 2_000;
const TICKET_MS = 15_000;
const START_TRIES = 8;
const LONGEST_PAUSE_MS = 30_000;

/** @returns the exit code. Rejects as the store and `findBase` do. */
export async function runPod(options: PodOptions): Promise<number> {
  try {
    return await work(options);
  } catch (error) {
    if (options.signal.aborted) return POD_EXIT.putBack;
    throw error;
  }
}

async function work(options: PodOptions): Promise<number> {
  const { attempt, dir, log, signal } = options;
  const ticket = await patiently(() => attempt.readTicket(), options);
  if (!ticket?.isOpen) {
    log.warn({ attempt: attempt.prefix }, 'nobody waits for this run');
    return POD_EXIT.done;
  }
  const runDir = path.join(dir, 'run');
  const last = await patiently(() => attempt.lastBatch(), options);
  const pod = new Pod(options, { ticket, runDir, last });
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  const job = await prepare(ticket, options);
  if ('code' in job) return pod.end({ kind: 'failed', error: job as unknown as Fault });
  if (signal.aborted) return POD_EXIT.putBack;
  const isResume = await patiently(() => attempt.archive.restore(runDir, { signal }), options);
  return pod.run(job, isResume);
}

/** The trainer's job with this machine's paths, or what is wrong. */
async function prepare(
  ticket: Ticket,
  { attempt, dir, findBase, log }: PodOptions,
): Promise<TrainerJob | Fault> {
  const base = await findBase();
  if (base.digest !== ticket.baseDigest) {
    log.error({ expected: ticket.baseDigest, found: base.digest }, 'this pod has another base');
    const message = 'The trainer’s machine has another base model than the server.';
    return { code: 'base_mismatch', message, param: null };
  }
  const job: Record<string, unknown> = { ...ticket.job, model: base.dir };
  for (const file of ticket.inputs) {
    const folder = path.join(dir, 'inputs', file.key);
    const target = path.join(folder, file.name);
    const from = inputKey({ tenant: ticket.tenant, id: ticket.jobId }, file.sha256);
    const isThere = await fetchFile(attempt.store, from, { file, target, call: {} });
    job[file.key] = file.key === 'initAdapter' ? folder : target;
    if (isThere) continue;
    const message = `What the run reads (${file.key}) is not in the store as it was put there.`;
    return { code: 'training_failed', message, param: null };
  }
  return job;
}

/** Of what is needed before there is a run: a pod starts in the same minute as its network. */
async function patiently<T>(
  work: () => Promise<T>,
  { log, signal }: Pick<PodOptions, 'log' | 'signal'>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === START_TRIES || signal.aborted) throw error;
      log.warn({ err: error }, 'the store does not answer');
      await setTimeout(Math.min(500 * 2 ** attempt, LONGEST_PAUSE_MS), undefined, { signal });
    }
  }
}

/** The run itself. */
class Pod {
  readonly #options: PodOptions;
  readonly #ticket: Ticket;
  readonly #runDir: string;
  readonly #writer: MessageWriter;
  #running: RunningJob | undefined;

  constructor(options: PodOptions, of: { ticket: Ticket; runDir: string; last: number }) {
    const { attempt, log, flushMs = FLUSH_MS } = options;
    this.#options = options;
    this.#ticket = of.ticket;
    this.#runDir = of.runDir;
    this.#writer = new MessageWriter({
      attempt,
      archive: attempt.archive,
      runDir: of.runDir,
      last: of.last,
      log,
      flushMs,
      onStuck: (reason) => {
        log.error({ reason }, 'the run ends here');
        this.#running?.cancel();
      },
    });
  }

  async run(job: TrainerJob, isResume: boolean): Promise<number> {
    const { runner, signal, ticketMs = TICKET_MS } = this.#options;
    const { jobId, tenant, token, gate } = this.#ticket;
    const hooks = { onMessage: this.#writer.tell.bind(this.#writer) };
    const work = { jobId, tenant, token, runDir: this.#runDir, job, gate, isResume };
    this.#running = runner.start(work, hooks);
    const watch = setInterval(() => void this.#cancelUnwanted(), ticketMs);
    const obey = () => void this.#obey();
    signal.addEventListener('abort', obey);
    if (signal.aborted) obey();
    const end = await this.#running.ended;
    clearInterval(watch);
    signal.removeEventListener('abort', obey);
    if (end.kind === 'cancelled' || end.kind === 'left') return POD_EXIT.failed;
    return this.end(end);
  }

  async end(end: RunEnd): Promise<number> {
    const isPutBack = end.kind === 'paused';
    const isWritten = await this.#writer.close(isPutBack ? undefined : end);
    if (!isWritten) return POD_EXIT.failed;
    if (isPutBack) return POD_EXIT.putBack;
    return end.kind === 'succeeded' ? POD_EXIT.done : POD_EXIT.failed;
  }

  /** Ends with a checkpoint, where anybody will go on from it. */
  async #obey(): Promise<void> {
    await this.#cancelUnwanted();
    this.#running?.pause();
  }

  async #cancelUnwanted(): Promise<void> {
    const { attempt, log } = this.#options;
    try {
      if ((await attempt.readTicket())?.isOpen) return;
    } catch (error) {
      log.warn({ err: error }, 'the store does not answer');
      return;
    }
    log.warn({ attempt: attempt.prefix }, 'nobody waits for this run any more');
    this.#running?.cancel();
  }
}
