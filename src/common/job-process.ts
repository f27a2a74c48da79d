// Runs jobs in a child process with limits on CPU time and memory, for work of unpredictable cost. A thread would not do: if it
// runs out of memory while a Map or a Set grows, it aborts the whole process. Each object has one process, which the first job
// starts and which ends when idle.
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { readCpuTime } from './cpu-time.ts';
import { forkProgram } from './fork-program.ts';
import { type Caller, TurnQueue } from './turn-queue.ts';

/**
 * A server's helpers, and the programs that each run one. All of them can run at the same time, and the server's memory plan
 * counts them.
 */
export const HELPERS = {
  'small constraints': ['server'],
  'large constraints': ['server'],
  'long prompts': ['server'],
  'adapter patterns': ['server', 'engine'],
} as const;

/** The limits of the jobs of a process. */
interface JobProcessLimits<Result = unknown> {
  /** The CPU time of one job. If the system does not report it (not Linux), its elapsed time. */
  readonly deadlineMs: number;
  readonly maxHeapMb: number;
  /** How many outcomes are remembered for identical jobs. 0: each job runs. */
  readonly maxRemembered: number;
  /** Returns the size of a large result. The results that are kept take at most 8 MiB together. Default: sizes are not counted. */
  bytesOf?(result: Result): number;
}

/** A result, or the limit that a job exceeded and the part of the job that did. */
type JobOutcome<Result> =
  | { readonly result: Result }
  | { readonly limit: 'time' | 'memory'; readonly part: number };

/** The child's messages: each part that it begins, from 0, and finally the result. */
type JobReply<Result> = { readonly part: number } | { readonly result: Result };

/** Loading a program from sources takes 0.3 s, and seconds on an overloaded machine. */
const START_DEADLINE_MS = 30_000;
/** A process takes 45 MB, and 60 ms to start. */
const IDLE_MS = 30_000;
/** A timeout is forgotten sooner, because the machine may just have been busy. */
const REMEMBER_LATE_MS = 60_000;
/** Lower than the engine's priority, because requests in flight wait for its steps. */
const NICENESS = 10;
/** Four times what may wait for the engine by default, so that a tenant's half still exceeds it. */
const MAX_WAITING = 1024;
const MAX_REMEMBERED_BYTES = 8 * 2 ** 20;
/** Jobs without a caller count as one tenant's. */
const NOBODY: Caller = { tenant: '' };
/** How V8 ends a process that reached its memory limit. */
const OUT_OF_MEMORY = 'SIGABRT';

/** Runs in the child: answers its parent's jobs with `work`, which may announce the next part of a job by `begin`. */
export function serveJobs<Job, Result>(
  work: (job: Job, begin: (part: number) => void) => Result | Promise<Result>,
): void {
  const send = (reply: JobReply<Result>) => process.send!(reply);
  const begin = (part: number) => void send({ part });
  process.on('message', async (json: string) => {
    begin(0);
    send({ result: await work(JSON.parse(json), begin) });
  });
}

/** Runs the jobs of one program. */
export class JobProcess<Result> {
  readonly #entry: URL;
  readonly #limits: JobProcessLimits<Result>;
  readonly #outcomes: LRUCache<string, JobOutcome<Result>>;
  readonly #turns = new TurnQueue({ maxWaiting: MAX_WAITING });
  readonly #helper: keyof typeof HELPERS;
  #child: ChildProcess | undefined;
  #idleTimer: NodeJS.Timeout | undefined;

  /** @param entry a program that calls `serveJobs` */
  constructor(helper: keyof typeof HELPERS, entry: URL, limits: JobProcessLimits<Result>) {
    this.#helper = helper;
    this.#entry = entry;
    this.#limits = limits;
    this.#outcomes = new LRUCache({
      max: Math.max(1, limits.maxRemembered),
      maxSize: MAX_REMEMBERED_BYTES,
      sizeCalculation: (outcome) =>
        1 + ('result' in outcome ? (limits.bytesOf?.(outcome.result) ?? 0) : 0),
    });
  }

  /**
   * Runs a job, given as JSON. Jobs run one at a time, alternating between tenants. If outcomes are remembered, identical jobs
   * run once. Rejects if the process cannot be started or ends by itself; the next job then starts another. Rejects with
   * `ServeError` if too many jobs wait, and with the reason of the caller's signal. A job that all its callers have given up on
   * is not started.
   */
  async run(json: string, caller: Caller = NOBODY): Promise<JobOutcome<Result>> {
    if (this.#limits.maxRemembered === 0) return this.#turns.take(caller, () => this.#run(json));
    const key = createHash('sha256').update(json).digest('hex');
    const cached = this.#outcomes.get(key);
    if (cached) return cached;
    const runAndRemember = async () => {
      const outcome = await this.#run(json);
      const isLate = 'limit' in outcome && outcome.limit === 'time';
      this.#outcomes.set(key, outcome, isLate ? { ttl: REMEMBER_LATE_MS } : {});
      return outcome;
    };
    return this.#turns.take(caller, runAndRemember, key);
  }

  async #run(json: string): Promise<JobOutcome<Result>> {
    clearTimeout(this.#idleTimer);
    this.#child ??= this.#start();
    keepAlive(this.#child, true);
    try {
      return await this.#outcomeOf(this.#child, json);
    } finally {
      // A child that failed or did not respond is already gone.
      if (this.#child) keepAlive(this.#child, false);
      this.#idleTimer = setTimeout(() => this.#drop(), IDLE_MS).unref();
    }
  }

  async #outcomeOf(child: ChildProcess, json: string): Promise<JobOutcome<Result>> {
    const deadline = new JobDeadline();
    let stopListening: () => unknown = () => {};
    try {
      return await new Promise((resolve, reject) => {
        let part = 0;
        const failed = (error: unknown) => {
          this.#drop();
          reject(error);
        };
        const late = () => {
          this.#drop();
          resolve({ limit: 'time', part });
        };
        const ended = (code: number | null, signal: NodeJS.Signals | null) => {
          if (signal === OUT_OF_MEMORY) resolve({ limit: 'memory', part });
          else failed(new Error(`the process for ${this.#helper} ended: ${signal ?? code}`));
        };
        const onReply = (reply: JobReply<Result>) => {
          if ('result' in reply) return resolve(reply);
          part = reply.part;
          if (part === 0) deadline.startComputing(child.pid, this.#limits.deadlineMs, late);
        };
        const notStarted = new Error(`the process for ${this.#helper} did not start`);
        deadline.start(START_DEADLINE_MS, () => failed(notStarted));
        child.on('error', failed).on('exit', ended).on('message', onReply);
        stopListening = () => child.off('error', failed).off('exit', ended).off('message', onReply);
        child.send(json, () => {}); // if it is gone, its exit event reports it
      });
    } finally {
      deadline.end();
      stopListening();
    }
  }

  #start(): ChildProcess {
    const child = forkProgram(this.#entry, [], {
      execArgv: [`--max-old-space-size=${this.#limits.maxHeapMb}`],
      niceness: NICENESS,
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'], // V8 prints pages when it is out of memory
    });
    child.on('error', () => {}); // errors outside a job
    child.once('exit', () => {
      if (this.#child === child) this.#child = undefined;
    });
    return child;
  }

  #drop(): void {
    const dropped = this.#child;
    this.#child = undefined;
    dropped?.kill('SIGKILL');
  }
}

/** Whether this process stays alive for the child. */
function keepAlive(child: ChildProcess, isNeeded: boolean): void {
  for (const handle of [child, child.channel]) {
    if (isNeeded) handle?.ref();
    else handle?.unref();
  }
}

// Limits the time of one job in a child process. Ends nothing after the job, because the process may already have the next one.

/** A job may take this many times its limit if it gets no core: its priority leaves it a tenth of a busy one. */
const MAX_WAIT_FACTOR = 10;

/** A deadline that can be moved until the job is over. */
export class JobDeadline {
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  /** Calls `stop` after `ms` milliseconds. Replaces an earlier timer. */
  start(ms: number, stop: () => void): void {
    clearTimeout(this.#timer);
    const stopUnlessOver = () => this.#isOver || stop();
    // If this thread was busy, an answer may be waiting. Read it first.
    this.#timer = setTimeout(() => void nextTurn().then(nextTurn).then(stopUnlessOver), ms);
  }

  /**
   * Calls `stop` once the process has used `ms` milliseconds of CPU time from now, or at the latest after `MAX_WAIT_FACTOR`
   * times that. If the system does not report CPU time (not Linux), calls it after `ms`. Replaces an earlier timer.
   */
  startComputing(pid: number | undefined, ms: number, stop: () => void): void {
    const latestMs = performance.now() + MAX_WAIT_FACTOR * ms;
    const before = computedMs(pid);
    const check = () => {
      const left = ms - (computedMs(pid) - before);
      if (!(left > 0) || performance.now() >= latestMs) return stop();
      this.start(Math.ceil(left), check);
    };
    this.start(ms, check);
  }

  /** Ends the timing, because the job is over. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}

/** NaN if it cannot be known. */
function computedMs(pid: number | undefined): number {
  return (pid !== undefined && readCpuTime(pid)?.runMs) || Number.NaN;
}
