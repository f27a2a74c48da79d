// A loss curve in the terminal, drawn anew with each step where the stream is a terminal, and once a quarter elsewhere.
import type { StepMessage } from '../contracts/training.ts';
import type { ProgressStream } from './progress.ts';

const WIDTH = 64;
const HEIGHT = 12;
const MARKS = { train: '·', validation: 'o' };

export interface LossPlot {
  /** @param detail stands below the curve */
  add(step: StepMessage, detail: string): void;
  /** What is drawn stays, and something else is written below it. */
  leave(): void;
}

export function createLossPlot(stream: ProgressStream): LossPlot {
  const steps: StepMessage[] = [];
  let drawnLines = 0;
  return {
    add(step, detail) {
      steps.push(step);
      const quarter = Math.max(1, Math.floor(step.totalSteps / 4));
      const isDue = stream.isTTY || step.step % quarter === 0 || step.step === step.totalSteps;
      if (!isDue) return;
      const text = drawLoss(steps, detail);
      // Back to the first line of the last drawing, and clear from there.
      stream.write(stream.isTTY && drawnLines > 0 ? `\x1b[${drawnLines}A\x1b[J${text}` : text);
      drawnLines = text.split('\n').length - 1;
    },
    leave() {
      drawnLines = 0;
    },
  };
}

/** The curve as lines of text: `·` training, `o` validation. */
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
