// Shows a trainer's messages on the terminal: progress or a loss curve, notes and results.
import type { StepMessage, TrainerMessage } from '../contracts/training-messages.ts';
import { createLossPlot } from './loss-plot.ts';
import { createProgress } from './progress.ts';
import type { Terminal } from './terminal.ts';

/** Creates a function that shows one message after the other. @param isWatched draws the loss curve */
export function createTrainerDisplay(
  terminal: Terminal,
  isWatched: boolean,
): (message: TrainerMessage) => void {
  const progress = createProgress(terminal);
  const plot = isWatched ? createLossPlot(terminal) : undefined;
  let validationLoss: number | undefined;
  const showStep = (step: StepMessage) => {
    validationLoss = step.validationLoss ?? validationLoss;
    const detail = describeStep(step, validationLoss);
    if (plot) plot.add(step, detail);
    else progress.update('train', step.step, step.totalSteps, detail);
    if (step.step === step.totalSteps) progress.end();
  };
  const write = (text: string, line: (text: string) => void) => {
    progress.end();
    plot?.leave();
    line(`${text}\n`);
  };
  return (message) => {
    if (message.type === 'step') showStep(message);
    if (message.type === 'fault') progress.end(); // the trainer prints it itself
    if (message.type === 'progress') progress.update(message.phase, message.done, message.total);
    if (message.type === 'note') write(message.text, terminal.error);
    if (message.type === 'result') write(message.text, terminal.out);
  };
}

/** @param validationLoss the last known one */
function describeStep(
  { loss, learningRate, tokensPerSecond }: StepMessage,
  validationLoss: number | undefined,
): string {
  const validation =
    validationLoss === undefined ? '' : ` | validation ${validationLoss.toFixed(4)}`;
  return `loss ${loss.toFixed(4)}${validation} | rate ${learningRate.toExponential(1)} | ${Math.round(tokensPerSecond)} tokens/s`;
}
