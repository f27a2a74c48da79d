// A loss curve of text: redrawn after each step on a terminal, drawn once each quarter of the run in a log or a pipe.
import type { StepMessage } from '../contracts/training-messages.ts';
import type { Terminal } from './terminal.ts';

const WIDTH = 64;
const HEIGHT = 12;
const MARKS = { train: '·', validation: 'o' };

/** A loss curve that grows with each step. */
export interface LossPlot {
  /** Adds a step, with `detail` shown below the curve. */
  add(step: StepMessage, detail: string): void;
  /** Keeps the current drawing, because something else is written below it. */
  leave(): void;
}

/** Creates a curve that is drawn on standard error. */
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
      // Move to the first line of the last drawing, and clear from there.
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
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
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
