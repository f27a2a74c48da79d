// Trainers in virtual time. A run's state is a hash over its steps, kept in checkpoint files, and decides the adapter: a run
// that loses or repeats a step ends with another one.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { sleep } from '../../src/common/waiting.ts';
import type { JobPlan, TrainerMessage } from '../../src/contracts/training-messages.ts';
import type {
  JobRunner,
  RunEnd,
  RunEndMessage,
  RunRequest,
  StopSignals,
} from '../../src/jobs/runner.ts';
import { step as stepMessage } from '../jobs/sample-jobs.ts';
import { SAMPLE_PLAN } from '../jobs/sample-plan.mjs';
import { digestOf, writeAdapter } from './adapters.ts';
import type { Machine } from './clock.ts';

const STEP_MS = 400;
const STEPS_PER_EPOCH = 2;
const LOST = { code: 'trainer_lost', message: 'The trainer was killed.', param: null };

/** How often trainers still die in a step after their first checkpoint. */
export interface TrainerFaults {
  deaths: number;
}

const stepsOf = (seed: number) => 2 + (seed % 4);
const nextState = (state: number, step: number) => (Math.imul(state ^ step, 0x01000193) >>> 0) + 1;
const codeOf = (state: number) => 16 + (state % 1000);

/** The digest of the adapter that a job with this seed ends with. */
export function trainedDigest(seed: number): string {
  let state = seed;
  for (let step = 1; step <= stepsOf(seed); step++) state = nextState(state, step);
  return digestOf(codeOf(state));
}

/** Runs trainers on a machine. */
export function createTrainers(machine: Machine, faults: TrainerFaults): JobRunner {
  return {
    outlivesServer: false,
    async plan({ job }, { signal }) {
      await sleep(STEP_MS / 2, { clock: machine, signal });
      return { kind: 'planned', plan: planOf(Number(job['seed'])) };
    },
    async *run(request, stop) {
      const end = yield* train(request, stop, { machine, faults });
      yield { type: 'end', end } satisfies RunEndMessage;
    },
  };
}

async function* train(
  { runDir, job, isResume }: RunRequest,
  stop: StopSignals,
  { machine, faults }: { machine: Machine; faults: TrainerFaults },
): AsyncGenerator<TrainerMessage, RunEnd> {
  const seed = Number(job['seed']);
  const totalSteps = stepsOf(seed);
  mkdirSync(runDir, { recursive: true });
  writeFileSync(path.join(runDir, 'job.json'), JSON.stringify(job));
  const found = isResume ? readCheckpoint(runDir) : undefined;
  let { step, state } = found ?? { step: 0, state: seed };
  const killed = AbortSignal.any([stop.cancel, stop.detach]);
  yield { type: 'event', level: 'info', code: found ? 'resumed' : 'started', message: 'Started' };
  while (step < totalSteps) {
    if (stop.pause.aborted) {
      writeCheckpoint(runDir, step, state);
      return { kind: 'paused' };
    }
    try {
      await sleep(STEP_MS * (0.5 + machine.random()), { clock: machine, signal: killed });
    } catch {
      return stop.cancel.aborted ? { kind: 'cancelled' } : { kind: 'lost', error: LOST };
    }
    if (faults.deaths > 0 && step >= STEPS_PER_EPOCH) {
      faults.deaths--;
      return { kind: 'lost', error: LOST };
    }
    step++;
    state = nextState(state, step);
    const metrics = stepMessage(step, { totalSteps, loss: 1 / step });
    yield metrics;
    if (step % STEPS_PER_EPOCH !== 0 && step !== totalSteps) continue;
    const directory = path.join(runDir, 'snapshots', `step-${step}`);
    writeAdapter(directory, codeOf(state));
    yield { type: 'snapshot', step, directory, metrics };
    writeCheckpoint(runDir, step, state);
    yield { type: 'event', level: 'info', code: 'checkpoint', message: 'Checkpoint' };
  }
  const directory = path.join(runDir, 'adapter');
  writeAdapter(directory, codeOf(state));
  const resultFile = path.join(runDir, 'result.csv');
  writeFileSync(resultFile, 'step,train_loss\n');
  yield { type: 'trained', directory, resultFile, totalSteps, trainedTokens: 10 * totalSteps };
  return { kind: 'succeeded' };
}

function writeCheckpoint(runDir: string, step: number, state: number): void {
  const folder = path.join(runDir, 'checkpoints', `step-${step}`);
  mkdirSync(folder, { recursive: true });
  const content = `state ${state}`;
  writeFileSync(path.join(folder, 'state.safetensors'), content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  writeFileSync(path.join(folder, 'state.sha256'), `${sha256}\n`);
}

function readCheckpoint(runDir: string): { step: number; state: number } | undefined {
  const folder = path.join(runDir, 'checkpoints');
  if (!existsSync(folder)) return undefined;
  const steps = readdirSync(folder).map((name) => Number(name.slice('step-'.length)));
  const step = Math.max(...steps);
  const text = readFileSync(path.join(folder, `step-${step}`, 'state.safetensors'), 'utf8');
  return { step, state: Number(text.slice('state '.length)) };
}

function planOf(seed: number): JobPlan {
  return { ...SAMPLE_PLAN, totalSteps: stepsOf(seed), stepsPerEpoch: STEPS_PER_EPOCH };
}
