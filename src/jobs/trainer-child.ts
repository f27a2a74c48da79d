// One trainer process from start to end: its messages as a stream, and the reason for its death.
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { type CpuTime, readCpuTime } from '../common/cpu-time.ts';
import { forkProgram, programUrl } from '../common/fork-program.ts';
import type { Logger } from '../common/log.ts';
import { memoryGroups } from '../common/memory-limit.ts';
import type {
  Fault,
  PauseMessage,
  RequestMessage,
  TaskMessage,
  TrainerMessage,
  TrainerRequest,
  TrainPriority,
} from '../contracts/training-messages.ts';

/** Settings of a `TrainerChild`. */
export interface TrainerChildOptions {
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** The trainer's program. Tests use a different one. */
  readonly entry?: URL;
  /** Returns how many processes the kernel has killed for lack of memory. */
  readonly countOomKills?: () => number | undefined;
  /** Default: nice. */
  readonly priority?: TrainPriority;
  /** Default: halfway to the lowest priority. */
  readonly niceness?: number;
  /** How to watch a trainer of priority idle. Tests use other figures. */
  readonly starvation?: Partial<StarvationOptions>;
  /** For a trainer that serves: messages contain typed arrays. */
  readonly serialization?: 'advanced';
}

/** Returns the threads of a trainer: the given number, or half the cores. */
export function threadsOrDefault(given: number | undefined): number {
  return given ?? Math.max(1, Math.floor(availableParallelism() / 2));
}

interface StarvationOptions {
  readonly sampleMs: number;
  readonly windowMs: number;
  readonly readCpuTime: (pid: number) => CpuTime | undefined;
}

/** Halfway to the lowest priority: the trainer yields to the engine, but other work does not starve it. */
const NICENESS = 10;
const SAMPLE_MS = 5_000;
/** How much of the end of the trainer's standard error is logged. */
const MAX_STDERR_CHARS = 4096;
/** How many messages a consumer may lag behind (four minutes at one per second) before steps are dropped. */
const MAX_WAITING_STEPS = 256;

/** The ids of the trainers that run on this machine now. */
const alive = new Set<number>();

/** Returns the CPU time of these trainers since their start, in ms; undefined if there are none. */
export function trainerCpuMs(): number | undefined {
  const times = [...alive].map((pid) => readCpuTime(pid)?.runMs ?? 0);
  return times.length === 0 ? undefined : times.reduce((sum, ms) => sum + ms, 0);
}

/** A trainer in a child process with low priority. */
export class TrainerChild {
  /** Completes when the process is gone. */
  readonly messages = new MessageBuffer();
  /** Resolves when the process is gone, with the fault to report if the trainer did not report its own end. */
  readonly death: Promise<Fault>;
  readonly #process: ChildProcess;
  readonly #log: TrainerChildOptions['log'];
  readonly #fields: { readonly job: string; readonly pid: number | undefined };
  readonly #countOomKills: () => number | undefined;
  readonly #oomKillsBefore: number | undefined;
  #stderr = '';
  #hasStarved = false;

  constructor(request: TrainerRequest, jobId: string, options: TrainerChildOptions) {
    const { entry, priority, niceness = NICENESS, serialization } = options;
    this.#countOomKills = options.countOomKills ?? countOomKills;
    this.#oomKillsBefore = this.#countOomKills();
    this.#process = forkTrainer(request, {
      niceness,
      stderr: 'pipe',
      ...(entry && { entry }),
      ...(priority && { priority }),
      ...(serialization && { serialization }),
    });
    this.#log = options.log;
    this.#fields = { job: jobId, pid: this.#process.pid };
    this.#log.info({ ...this.#fields, command: request.command }, 'trainer started');
    const { pid } = this.#process;
    if (pid !== undefined) alive.add(pid);
    this.death = this.#watch().finally(() => {
      if (pid !== undefined) alive.delete(pid);
      this.messages.close();
    });
    if (priority === 'idle') this.#endIfStarved(options.starvation);
  }

  /** Whether the trainer was killed because it hardly ever got CPU time. */
  get hasStarved(): boolean {
    return this.#hasStarved;
  }

  /** Asks for a checkpoint after the current step. */
  pause(): void {
    if (this.#process.connected) {
      this.#process.send({ type: 'pause' } satisfies PauseMessage, () => {}); // it may just have ended
    }
  }

  /** Sends a task to a trainer that serves. */
  send(message: TaskMessage): void {
    this.#process.send(message, () => {}); // if it has just ended, its death reports it
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Kills a starving trainer without a pause, which would wait for the end of a step and could take hours. */
  #endIfStarved({
    sampleMs = SAMPLE_MS,
    windowMs,
    readCpuTime: read = readCpuTime,
  }: Partial<StarvationOptions> = {}): void {
    const { pid } = this.#process;
    if (pid === undefined) return;
    const watch = new StarvationWatch(windowMs);
    const timer = setInterval(() => {
      const time = read(pid);
      if (!time || !watch.add(time, performance.now())) return;
      this.#hasStarved = true;
      this.kill();
    }, sampleMs);
    void this.death.finally(() => clearInterval(timer));
  }

  #watch(): Promise<Fault> {
    this.#process.on('message', (message) => this.messages.push(message as TrainerMessage));
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = `${this.#stderr}${text}`.slice(-MAX_STDERR_CHARS);
    });
    return new Promise((resolve) => {
      this.#process.once('error', (error) => resolve(lostTrainer(error.message)));
      // Unlike `exit`, this comes after the last message.
      this.#process.once('close', (code, signal) => resolve(this.#describe(code, signal)));
    });
  }

  #describe(code: number | null, signal: NodeJS.Signals | null): Fault {
    const isClean = code === 0;
    const fields = { ...this.#fields, code, signal, ...(!isClean && { stderr: this.#stderr }) };
    this.#log[isClean ? 'info' : 'warn'](fields, 'trainer ended');
    const oomKills = this.#countOomKills() ?? 0;
    if (signal === 'SIGKILL' && oomKills > (this.#oomKillsBefore ?? oomKills)) {
      const cure = 'Try a smaller batch_size, or a machine with more memory.';
      const message = `The trainer was killed because memory ran out. ${cure}`;
      return { code: 'out_of_memory', message, param: null };
    }
    const how = signal ? `was killed (${signal})` : `ended (exit code ${code})`;
    return lostTrainer(
      `The trainer ${how} before its run was done. The log of the server gives the reason.`,
    );
  }
}

/** Returns the fault of a trainer that disappeared. Its message is shown to users. */
export function lostTrainer(message: string): Fault {
  return { code: 'trainer_lost', message, param: null };
}

/**
 * Buffers messages between a trainer and a consumer that may be slow, such as a store that does not respond. Beyond a limit it
 * drops plain steps, so the training continues and memory stays bounded. Has one consumer, which reads in order.
 */
export class MessageBuffer implements AsyncIterable<TrainerMessage> {
  readonly #waiting: TrainerMessage[] = [];
  #isClosed = false;
  #wake: () => void = () => {};

  push(message: TrainerMessage): void {
    if (this.#waiting.length >= MAX_WAITING_STEPS && isPlainStep(message)) return;
    this.#waiting.push(message);
    this.#wake();
  }

  /** Ends the iteration after the last message. */
  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TrainerMessage, void> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next) yield next;
      else if (this.#isClosed) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

/** Whether the message is a step without a validation, or its samples. These may be dropped: the run folder keeps all of them. */
function isPlainStep(message: TrainerMessage): boolean {
  const isStep = message.type === 'step' && message.validationLoss === undefined;
  return isStep || message.type === 'samples';
}

/** The file with the count, by version of cgroups. */
const COUNT_FILES = { 1: 'memory.oom_control', 2: 'memory.events' } as const;

/**
 * Counts the processes that the kernel has killed for lack of memory, in this container if possible, else on the machine. A
 * killed child cannot report it. Returns undefined if the system does not count them (not Linux).
 */
export function countOomKills(): number | undefined {
  const files = memoryGroups().map(({ version, folders }) =>
    path.join(folders[0]!, COUNT_FILES[version]),
  );
  for (const file of [...files, '/proc/vmstat']) {
    const line = /^oom_kill (\d+)$/m.exec(readIfThere(file) ?? '');
    if (line) return Number(line[1]);
  }
  return undefined;
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * The least share of the CPU time it wants that a process must get. Linux's idle class gets 0.3% if other threads never sleep.
 */
const MIN_SHARE = 0.02;
/** Long enough that a burst of other work does not count as starvation. */
const WINDOW_MS = 60_000;

/** Detects that a process gets hardly any CPU time. */
export class StarvationWatch {
  readonly #windowMs: number;
  #samples: (CpuTime & { readonly atMs: number })[] = [];

  constructor(windowMs: number = WINDOW_MS) {
    this.#windowMs = windowMs;
  }

  /**
   * Adds a sample. Returns whether the process has starved during the last window: it wanted to compute for at least half of
   * it, and got less than its share.
   * @param atMs monotonic
   */
  add({ runMs, waitMs }: CpuTime, atMs: number): boolean {
    this.#samples.push({ runMs, waitMs, atMs });
    // Keeps one sample that is at least as old as the window.
    const from = this.#samples.findLastIndex((sample) => atMs - sample.atMs >= this.#windowMs);
    if (from === -1) return false;
    this.#samples = this.#samples.slice(from);
    const [first] = this.#samples;
    const ran = runMs - first!.runMs;
    const wanted = ran + waitMs - first!.waitMs;
    return wanted >= this.#windowMs / 2 && ran < MIN_SHARE * wanted;
  }
}

/** Settings of a trainer process. */
interface ForkOptions {
  /** 0 (normal priority) to 19 (lowest priority). */
  readonly niceness?: number;
  /** Absent: only the niceness is set. */
  readonly priority?: TrainPriority;
  /** Where standard error goes. */
  readonly stderr?: 'inherit' | 'pipe';
  /** The program. Tests use a different one. */
  readonly entry?: URL;
  /** `advanced`: messages contain typed arrays, as tasks do. */
  readonly serialization?: 'advanced';
}

const TRAINER = programUrl('../../trainer/main', import.meta.url);

/**
 * Forks the trainer. If the parent is killed, the channel closes and the trainer ends. If the parent ends in another way, it
 * kills the trainer, and the run can resume from its checkpoint.
 */
export function forkTrainer(
  request: TrainerRequest,
  { niceness = 0, priority, stderr = 'inherit', entry = TRAINER, ...options }: ForkOptions = {},
): ChildProcess {
  const stdio = ['inherit', 'inherit', stderr, 'ipc'] as const;
  const child = forkProgram(entry, [], { ...options, niceness, stdio: [...stdio] });
  // If the child cannot start or dies early, its own events report it.
  const message: RequestMessage = { type: 'request', request, ...(priority && { priority }) };
  child.send(message, () => {});
  return child;
}
