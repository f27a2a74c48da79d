// Runs a server's jobs as child processes with low priority, on some of the cores. Reads no job records and decides no job
// states.
import { rm } from 'node:fs/promises';
import { assert } from '../common/assert.ts';
import { isDiskFull } from '../common/errors.ts';
import { formatFileSize } from '../common/format-bytes.ts';
import type { ToolFormatName } from '../contracts/tool-format.ts';
import {
  DISK_FULL_FAULT,
  type Fault,
  type JobPlan,
  type TrainerMessage,
  type TrainerRequest,
} from '../contracts/training-messages.ts';
import { MIN_EXAMPLES } from './check-rows.ts';
import { holdsRun, relocateRun } from './run-copy.ts';
import type {
  JobRunner,
  PlanOutcome,
  RunEnd,
  RunRequest,
  StopSignals,
  TrainerJob,
} from './runner.ts';
import {
  lostTrainer,
  TrainerChild,
  type TrainerChildOptions,
  threadsOrDefault,
} from './trainer-child.ts';

/** Settings of the child runner. */
export interface ChildRunnerOptions extends TrainerChildOptions {
  /** The threads of a job that sets no number. Default: half the cores. A resumed run keeps its number. */
  readonly threads?: number | undefined;
  /** The format of tool calls, if the server's settings choose one. Jobs train with the same format. */
  readonly toolFormat?: ToolFormatName | undefined;
  /** The Python that runs graders. Absent: the trainer's own setting. */
  readonly pythonGraders?: string | undefined;
  /** Bytes of memory that a job may take; larger ones are refused. Default: this machine's, and no job is refused. */
  readonly planMemory?: number;
}

/** Creates a runner whose trainers are child processes of this one. */
export function createChildRunner(options: ChildRunnerOptions): JobRunner {
  const { toolFormat, planMemory } = options;
  const threads = threadsOrDefault(options.threads);
  const withDefaults = (job: TrainerJob) => ({
    threads,
    ...(toolFormat && { toolFormat }),
    ...job,
  });
  return {
    outlivesServer: false,
    async plan({ jobId, job }, { signal }) {
      const request: TrainerRequest = {
        command: 'plan',
        job: { file: undefined, overrides: withDefaults(job), isFromApi: true },
        size: undefined,
        configFile: undefined,
        memory: planMemory,
        isJson: true,
        minExamples: MIN_EXAMPLES,
      };
      // Planning takes seconds, and a client waits for it.
      const trainer = new TrainerChild(request, jobId, { ...options, priority: 'nice' });
      return refuseLarge(await plan(trainer, signal), planMemory);
    },
    async *run(request, stop) {
      const job = withDefaults(request.job);
      yield { type: 'end', end: yield* train({ ...request, job }, stop, options) };
    },
  };
}

async function plan(trainer: TrainerChild, signal: AbortSignal): Promise<PlanOutcome> {
  const kill = () => trainer.kill();
  signal.addEventListener('abort', kill);
  if (signal.aborted) kill();
  let planned: JobPlan | undefined;
  let fault: Fault | undefined;
  for await (const message of trainer.messages) {
    if (message.type === 'plan') planned = message.plan;
    if (message.type === 'fault') fault = toFault(message);
  }
  signal.removeEventListener('abort', kill);
  signal.throwIfAborted();
  if (fault) return { kind: isMachineFault(fault) ? 'lost' : 'refused', error: fault };
  if (planned) return { kind: 'planned', plan: planned };
  return { kind: 'lost', error: await trainer.death };
}

/** Refuses a job beyond its memory, in which the kernel would kill its trainer or the engine next to it. */
function refuseLarge(outcome: PlanOutcome, bytes = Number.POSITIVE_INFINITY): PlanOutcome {
  if (outcome.kind !== 'planned' || !(outcome.plan.memoryBytes > bytes)) return outcome;
  const [needed, left] = [outcome.plan.memoryBytes, bytes].map(formatFileSize);
  const message = `Training takes about ${needed}, and the server leaves ${left} to a job. Lower batch_size, or shorten the rows; operators can raise --train-memory.`;
  return { kind: 'refused', error: { code: 'out_of_memory', message, param: null } };
}

/** Runs a trainer. If it starves in the idle class, replaces it by one that resumes the run with a low priority. */
async function* train(
  request: RunRequest,
  stop: StopSignals,
  options: ChildRunnerOptions,
): AsyncGenerator<TrainerMessage, RunEnd> {
  const end = yield* runTrainer(request, stop, options);
  if (end.kind !== 'starved') return end;
  yield STARVED;
  const second = { ...options, priority: 'nice' } as const;
  const secondEnd = yield* runTrainer({ ...request, isResume: true }, stop, second);
  assert(secondEnd.kind !== 'starved', 'only the idle class starves');
  return secondEnd;
}

/** Clients see this as one of the job's events. */
const STARVED: TrainerMessage = {
  type: 'event',
  level: 'warn',
  code: 'starved',
  message:
    'The machine is never idle. The job continues from its last checkpoint with a low priority.',
};

async function* runTrainer(
  request: RunRequest,
  stop: StopSignals,
  options: ChildRunnerOptions,
): AsyncGenerator<TrainerMessage, RunEnd | { readonly kind: 'starved' }> {
  const command = await prepare(request, options).catch(toLost);
  if ('kind' in command) return command;
  if (stop.cancel.aborted) return { kind: 'cancelled' };
  if (stop.pause.aborted || stop.detach.aborted) return { kind: 'paused' };
  const trainer = new TrainerChild(command, request.jobId, options);
  stop.pause.addEventListener('abort', () => trainer.pause());
  stop.cancel.addEventListener('abort', () => trainer.kill());
  stop.detach.addEventListener('abort', () => trainer.kill());
  let reported: RunEnd | undefined;
  try {
    for await (const message of trainer.messages) {
      reported = reportedEnd(message) ?? reported;
      yield message;
    }
  } finally {
    trainer.kill(); // still alive only if the consumer left the loop
    await trainer.death;
  }
  if (stop.cancel.aborted) return { kind: 'cancelled' };
  if (reported && !stop.detach.aborted) return reported;
  if (trainer.hasStarved && !stop.detach.aborted) return { kind: 'starved' };
  return { kind: 'lost', error: await trainer.death };
}

/** Returns the end of the run that a message reports. */
function reportedEnd(message: TrainerMessage): RunEnd | undefined {
  if (message.type === 'fault') {
    return { kind: isMachineFault(message) ? 'lost' : 'failed', error: toFault(message) };
  }
  if (message.type === 'trained') return { kind: 'succeeded' };
  return message.type === 'event' && message.code === 'paused' ? { kind: 'paused' } : undefined;
}

/** Resumes the run in the folder. If a killed trainer left a folder without a run, starts a new one. */
async function prepare(
  request: RunRequest,
  { pythonGraders, planMemory: memory }: ChildRunnerOptions,
): Promise<TrainerRequest> {
  const { runDir, job, gate, tenant, isResume } = request;
  const publishing = { adaptersDir: undefined, gate, tenant, pythonGraders, memory };
  if (isResume && holdsRun(runDir)) {
    await relocateRun(runDir, job);
    return { command: 'resume', runDir, ...publishing };
  }
  await rm(runDir, { recursive: true, force: true });
  const source = { file: undefined, overrides: job, isFromApi: true } as const;
  return { command: 'train', job: source, outDir: runDir, ...publishing };
}

function toLost(error: unknown): RunEnd {
  if (isDiskFull(error)) return { kind: 'lost', error: DISK_FULL_FAULT };
  const reason = error instanceof Error ? error.message : String(error);
  return { kind: 'lost', error: lostTrainer(`The run folder cannot be used: ${reason}`) };
}

function toFault({ type: _, ...fault }: TrainerMessage & { type: 'fault' }): Fault {
  return fault;
}

/** Whether the machine is to blame, so that the run can resume from its checkpoint. */
function isMachineFault({ code }: Pick<Fault, 'code'>): boolean {
  return code === DISK_FULL_FAULT.code;
}
