// Shows a trainer's messages on the terminal: progress or a loss curve, notes and results.
import { largest, smallest } from '../common/long-arrays.ts';
import type {
  ProgressMessage,
  StepMessage,
  TrainerMessage,
} from '../contracts/training-messages.ts';
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
    if (!last) return progress.update(phase, done, total);
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

// A text-mode loss curve: redrawn after each step on a terminal, drawn once per quarter of the run in a log or a pipe.

const WIDTH = 64;
const HEIGHT = 12;
const MARKS = { train: '·', validation: 'o' };

/** A loss curve that grows with each step. */
interface LossPlot {
  /** Adds a step, with `detail` shown below the curve. */
  add(step: StepMessage, detail: string): void;
  /** Keeps the current drawing, because other output follows below it. */
  leave(): void;
}

/** Creates a curve drawn on standard error. */
export function createLossPlot(terminal: Terminal): LossPlot {
  const steps: StepMessage[] = [];
  let drawnLines = 0;
  return {
    add(step, detail) {
      steps.push(step);
      const quarter = Math.max(1, Math.floor(step.totalSteps / 4));
      const isDue = terminal.isTTY || step.step % quarter === 0 || step.step === step.totalSteps;
      if (!isDue) return;
      const text = drawLoss(steps, detail);
      // Move to the first line of the last drawing, and clear everything below.
      terminal.error(terminal.isTTY && drawnLines > 0 ? `\x1b[${drawnLines}A\x1b[J${text}` : text);
      drawnLines = text.split('\n').length - 1;
    },
    leave() {
      drawnLines = 0;
    },
  };
}

/** Draws the curve as lines of text: `·` is training, `o` is validation. */
export function drawLoss(steps: readonly StepMessage[], detail: string): string {
  const last = steps.at(-1)!;
  const losses = steps.flatMap(({ loss, validationLoss }) => [loss, validationLoss ?? loss]);
  const [low, high] = [smallest(losses), largest(losses)];
  const grid = Array.from({ length: HEIGHT }, () => Array.from({ length: WIDTH }, () => ' '));
  const put = (step: number, loss: number, mark: string) => {
    const column = Math.min(WIDTH - 1, Math.floor(((step - 1) / last.totalSteps) * WIDTH));
    const share = high > low ? (loss - low) / (high - low) : 0;
    grid[Math.round((1 - share) * (HEIGHT - 1))]![column] = mark;
  };
  for (const { step, loss } of steps) put(step, loss, MARKS.train);
  for (const { step, validationLoss } of steps) {
    if (validationLoss !== undefined) put(step, validationLoss, MARKS.validation);
  }
  const rows = grid.map((cells, row) => {
    const value = high - (row / (HEIGHT - 1)) * (high - low);
    return `${value.toFixed(3).padStart(9)} ┤${cells.join('').trimEnd()}`;
  });
  const status = `step ${last.step}/${last.totalSteps} | ${detail}`;
  return `${rows.join('\n')}\n${' '.repeat(11)}${status}\n`;
}
