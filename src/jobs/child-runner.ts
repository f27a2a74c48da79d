// Runs a server's jobs as child processes of its own, behind everything else on the machine: nice, on some of the cores.
// Says how each ended, whatever ended it. Knows no store and no job states.
import type { ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import os from 'node:os';
import { isDiskFull } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import {
  DISK_FULL_FAULT,
  type Fault,
  type JobPlan,
  type PauseMessage,
  type TrainerMessage,
  type TrainerRequest,
} from '../contracts/training.ts';
import { MIN_EXAMPLES } from './check-rows.ts';
import { forkTrainer } from './fork-trainer.ts';
import { MessageQueue } from './message-queue.ts';
import { countOomKills } from './oom-kills.ts';
import { holdsRun, relocateRun } from './relocate-run.ts';
import type { JobHooks, JobRunner, JobWork, PlanOutcome, RunEnd, RunningJob } from './runner.ts';

export interface ChildRunnerOptions {
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Of a job that does not say; default: half of the cores. A run keeps those that it began with. */
  readonly threads?: number | undefined;
  /** The trainer's program; tests have their own. */
  readonly entry?: URL;
  /** Processes that the kernel has killed for lack of memory so far. */
  readonly countOomKills?: () => number | undefined;
}

/** Half of the way to the end: it yields to the engine wherever both want a core, and is not starved beside other work. */
const NICENESS = 10;
/** Of what the trainer says on standard error, for the log. */
const MAX_STDERR_CHARS = 4096;

export function createChildRunner(options: ChildRunnerOptions): JobRunner {
  const { threads = Math.max(1, Math.floor(os.availableParallelism() / 2)) } = options;
  return {
    plan({ jobId, job }, { signal }) {
      const request: TrainerRequest = {
        command: 'plan',
        job: { file: undefined, overrides: { threads, ...job } },
        size: undefined,
        configFile: undefined,
        memory: undefined,
        isJson: true,
        minExamples: MIN_EXAMPLES,
      };
      return plan(new TrainerChild(request, jobId, options), signal);
    },
    start: (work, hooks) =>
      new ChildRun({ ...work, job: { threads, ...work.job } }, hooks, options),
  };
}

async function plan(child: TrainerChild, signal: AbortSignal): Promise<PlanOutcome> {
  const kill = () => child.kill();
  signal.addEventListener('abort', kill);
  if (signal.aborted) kill();
  let planned: JobPlan | undefined;
  let fault: Fault | undefined;
  const death = await child.run((message) => {
    if (message.type === 'plan') planned = message.plan;
    if (message.type === 'fault') fault = toFault(message);
  });
  signal.removeEventListener('abort', kill);
  signal.throwIfAborted();
  if (fault) return { kind: isMachines(fault) ? 'lost' : 'refused', error: fault };
  if (planned) return { kind: 'planned', plan: planned };
  return { kind: 'lost', error: death };
}

class ChildRun implements RunningJob {
  readonly ended: Promise<RunEnd>;
  #child: TrainerChild | undefined;
  #askedEnd: 'paused' | 'cancelled' | undefined;

  constructor(work: JobWork, hooks: JobHooks, options: ChildRunnerOptions) {
    this.ended = this.#run(work, hooks, options);
  }

  pause(): void {
    this.#askedEnd ??= 'paused';
    this.#child?.pause();
  }

  cancel(): void {
    this.#askedEnd = 'cancelled';
    this.#child?.kill();
  }

  leave(): void {
    this.pause();
  }

  drop(): void {
    this.cancel();
  }

  #isCancelled(): boolean {
    return this.#askedEnd === 'cancelled';
  }

  async #run(work: JobWork, hooks: JobHooks, options: ChildRunnerOptions): Promise<RunEnd> {
    const request = await prepare(work).catch(toLost);
    if ('kind' in request) return request;
    if (this.#askedEnd) return { kind: this.#askedEnd };
    this.#child = new TrainerChild(request, work.jobId, options);
    let told: RunEnd | undefined;
    const death = await this.#child.run((message) => {
      told = endToldBy(message) ?? told;
      return hooks.onMessage(message);
    });
    if (this.#isCancelled()) return { kind: 'cancelled' };
    return told ?? { kind: 'lost', error: death };
  }
}

/** What a message says about the end, if it does. */
function endToldBy(message: TrainerMessage): RunEnd | undefined {
  if (message.type === 'fault') {
    return { kind: isMachines(message) ? 'lost' : 'failed', error: toFault(message) };
  }
  if (message.type === 'trained') return { kind: 'succeeded' };
  return message.type === 'event' && message.code === 'paused' ? { kind: 'paused' } : undefined;
}

/** A new run, or the one in the folder. A folder that holds neither is what a killed trainer left. */
async function prepare(work: JobWork): Promise<TrainerRequest> {
  const { runDir, job, gate } = work;
  const publishing = { adaptersDir: undefined, gate };
  if (work.isResume && holdsRun(runDir)) {
    await relocateRun(runDir, job);
    return { command: 'resume', runDir, ...publishing };
  }
  await rm(runDir, { recursive: true, force: true });
  const source = { file: undefined, overrides: job };
  return { command: 'train', job: source, outDir: runDir, ...publishing };
}

function toLost(error: unknown): RunEnd {
  if (isDiskFull(error)) return { kind: 'lost', error: DISK_FULL_FAULT };
  const reason = error instanceof Error ? error.message : String(error);
  return { kind: 'lost', error: lost('trainer_lost', `The run folder cannot be used: ${reason}`) };
}

function toFault({ type: _, ...fault }: TrainerMessage & { type: 'fault' }): Fault {
  return fault;
}

/** Whether the machine is at fault, so that the run can go on from its checkpoint. */
function isMachines({ code }: Pick<Fault, 'code'>): boolean {
  return code === DISK_FULL_FAULT.code;
}

function lost(code: string, message: string): Fault {
  return { code, message, param: null };
}

/** One trainer's process from its start to its end. */
class TrainerChild {
  readonly #process: ChildProcess;
  readonly #log: ChildRunnerOptions['log'];
  readonly #fields: { readonly job: string; readonly pid: number | undefined };
  readonly #countOomKills: () => number | undefined;
  readonly #oomKillsBefore: number | undefined;
  #stderr = '';

  constructor(request: TrainerRequest, jobId: string, options: ChildRunnerOptions) {
    const { entry } = options;
    this.#countOomKills = options.countOomKills ?? countOomKills;
    this.#oomKillsBefore = this.#countOomKills();
    this.#process = forkTrainer(request, {
      niceness: NICENESS,
      stderr: 'pipe',
      ...(entry && { entry }),
    });
    this.#log = options.log;
    this.#fields = { job: jobId, pid: this.#process.pid };
    this.#log.info({ ...this.#fields, command: request.command }, 'trainer started');
  }

  pause(): void {
    if (this.#process.connected) {
      this.#process.send({ type: 'pause' } satisfies PauseMessage, () => {}); // it may just have ended
    }
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /**
   * Resolves when the process is gone and all its messages have been handled, with what its death is where it has not
   * said so itself.
   */
  async run(handle: (message: TrainerMessage) => void | Promise<void>): Promise<Fault> {
    const queue = new MessageQueue(handle);
    this.#process.on('message', (message) => queue.push(message as TrainerMessage));
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = `${this.#stderr}${text}`.slice(-MAX_STDERR_CHARS);
    });
    const death = await new Promise<Fault>((resolve) => {
      this.#process.once('error', (error) => resolve(lost('trainer_lost', error.message)));
      // After the last message, unlike `exit`.
      this.#process.once('close', (code, signal) => resolve(this.#describe(code, signal)));
    });
    await queue.whenIdle();
    return death;
  }

  #describe(code: number | null, signal: NodeJS.Signals | null): Fault {
    const isClean = code === 0;
    const fields = { ...this.#fields, code, signal, ...(!isClean && { stderr: this.#stderr }) };
    this.#log[isClean ? 'info' : 'warn'](fields, 'trainer ended');
    const oomKills = this.#countOomKills() ?? 0;
    if (signal === 'SIGKILL' && oomKills > (this.#oomKillsBefore ?? oomKills)) {
      const cure = 'Try a smaller batch_size, or a machine with more memory.';
      return lost('out_of_memory', `The trainer was killed because memory ran out. ${cure}`);
    }
    const how = signal ? `was killed (${signal})` : `ended (exit code ${code})`;
    return lost('trainer_lost', `The trainer ${how} before its run was done.`);
  }
}
