// Shows a trainer's messages on the terminal: progress or a loss curve, notes and results.
import type {
  ProgressMessage,
  StepMessage,
  TrainerMessage,
} from '../contracts/training-messages.ts';
import { createLossPlot } from './loss-plot.ts';
import { createProgress } from './progress.ts';
import { withReminders } from './reminders.ts';
import type { Terminal } from './terminal.ts';

/** Creates a function that shows one message after the other. @param isWatched draws the loss curve */
export function createTrainerDisplay(
  terminal: Terminal,
  isWatched: boolean,
): (message: TrainerMessage) => void {
  const progress = withReminders(createProgress(terminal), terminal);
  const plot = isWatched ? createLossPlot(terminal) : undefined;
  let validationLoss: number | undefined;
  /** The last step and its description, while more steps follow. */
  let last: { readonly step: StepMessage; readonly detail: string } | undefined;
  const showStep = (step: StepMessage) => {
    validationLoss = step.validationLoss ?? validationLoss;
    const detail = describeStep(step, validationLoss);
    last = step.step < step.totalSteps ? { step, detail } : undefined;
    if (plot) {
      progress.end();
      plot.add(step, detail);
    } else progress.update('train', step.step, step.totalSteps, detail);
    if (!last) progress.end();
  };
  const showProgress = ({ phase, done, total }: ProgressMessage) => {
    const batches = total === 0 && done >= 1 ? `${Math.floor(done)} batches` : '';
    if (!last) return progress.update(phase, done, total, batches);
    if (plot) return; // it shows steps only
    const share = total > 0 ? ` ${Math.floor((100 * done) / total)}%` : '';
    const { step, detail } = last;
    progress.update('train', step.step, step.totalSteps, `${detail} | ${phase}${share}`);
  };
  const write = (text: string, line: (text: string) => void) => {
    progress.end();
    plot?.leave();
    line(`${text}\n`);
  };
  return (message) => {
    if (message.type === 'step') showStep(message);
    if (message.type === 'fault') progress.end(); // the trainer prints it itself
    if (message.type === 'progress') showProgress(message);
    if (message.type === 'note') write(message.text, terminal.error);
    if (message.type === 'result') write(message.text, terminal.out);
  };
}

/** @param validationLoss the last known one */
function describeStep(
  { loss, learningRate, tokensPerSecond, ...step }: StepMessage,
  validationLoss: number | undefined,
): string {
  const { reward } = step;
  const shown = reward === undefined ? validationLoss : validationLoss && -validationLoss;
  const validation = shown === undefined ? '' : ` | validation ${shown.toFixed(4)}`;
  const rewards = reward === undefined ? '' : ` | reward ${reward.toFixed(3)}`;
  const margin = step['rewards/margins'];
  const accuracy = `${Math.round(100 * step.tokenAccuracy)}%`;
  const pairs = margin === undefined ? '' : ` | accuracy ${accuracy} | margin ${margin.toFixed(3)}`;
  return `loss ${loss.toFixed(4)}${rewards}${validation}${pairs} | rate ${learningRate.toExponential(1)} | ${Math.round(tokensPerSecond)} tokens/s`;
}
