// The trainer as a child process: its requests, its messages on the terminal, its end. The child does the work; this
// process shows it and passes on that it shall pause.

import type {
  PauseMessage,
  StepMessage,
  TrainerMessage,
  TrainerRequest,
} from '../contracts/training.ts';
import { forkTrainer } from '../jobs/fork-trainer.ts';
import { createLossPlot } from './loss-plot.ts';
import { createProgress, type Progress } from './progress.ts';
import type { Terminal } from './terminal.ts';
import { listenForInterrupt } from './terminal.ts';

export interface TrainerProcessOptions {
  readonly isWatched: boolean;
  readonly terminal: Terminal;
}

/** Resolves with the child's exit code. The first SIGINT or SIGTERM asks it to pause. */
export function runTrainerProcess(
  request: TrainerRequest,
  { isWatched, terminal }: TrainerProcessOptions,
): Promise<number> {
  const child = forkTrainer(request);
  listenForInterrupt().addEventListener('abort', () => {
    if (child.connected) child.send({ type: 'pause' } satisfies PauseMessage);
  });
  const show = createDisplay(isWatched, terminal);
  child.on('message', (message) => show(message as TrainerMessage));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // After the last message, unlike `exit`. A child that a signal ended has no code: it failed.
    child.on('close', (code) => resolve(code ?? 1));
  });
}

function createDisplay(isWatched: boolean, terminal: Terminal): (message: TrainerMessage) => void {
  const progress: Progress = createProgress(process.stderr);
  const plot = isWatched ? createLossPlot(process.stderr) : undefined;
  let validationLoss: number | undefined;
  return (message) => {
    if (message.type === 'step') {
      validationLoss = message.validationLoss ?? validationLoss;
      const detail = describeStep(message, validationLoss);
      if (plot) plot.add(message, detail);
      else progress.update('train', message.step, message.totalSteps, detail);
      if (message.step === message.totalSteps) progress.end();
      return;
    }
    if (message.type !== 'note' && message.type !== 'result') return; // for programs
    progress.end();
    plot?.leave();
    if (message.type === 'note') terminal.error(`${message.text}\n`);
    else terminal.out(`${message.text}\n`);
  };
}

/** @param validationLoss the last one */
function describeStep(
  { loss, learningRate, tokensPerSecond }: StepMessage,
  validationLoss: number | undefined,
): string {
  const validation =
    validationLoss === undefined ? '' : ` | validation ${validationLoss.toFixed(4)}`;
  return `loss ${loss.toFixed(4)}${validation} | rate ${learningRate.toExponential(1)} | ${Math.round(tokensPerSecond)} tokens/s`;
}
