// A text-mode loss curve: redrawn after each step on a terminal, drawn once per quarter of the run in a log or a pipe. A column
// keeps the mean of its steps, so a drawing takes the same time in a long run.
import { largest, smallest } from '../common/long-arrays.ts';
import type { StepMessage } from '../contracts/training-messages.ts';
import type { Terminal } from './terminal.ts';

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

/** The losses of the steps in one column. */
interface Column {
  sum: number;
  count: number;
  /** The last one. */
  validationLoss: number | undefined;
}

/** Creates a curve drawn on standard error. */
export function createLossPlot(terminal: Terminal): LossPlot {
  const columns: Column[] = [];
  let drawnLines = 0;
  return {
    add(step, detail) {
      const { totalSteps, loss, validationLoss } = step;
      const index = Math.min(WIDTH - 1, Math.floor(((step.step - 1) / totalSteps) * WIDTH));
      const column = columns[index] ?? { sum: 0, count: 0, validationLoss: undefined };
      column.sum += loss;
      column.count++;
      column.validationLoss = validationLoss ?? column.validationLoss;
      columns[index] = column;
      const quarter = Math.max(1, Math.floor(totalSteps / 4));
      const isDue = terminal.isTTY || step.step % quarter === 0 || step.step === totalSteps;
      if (!isDue) return;
      const text = `${drawColumns(columns)}${' '.repeat(11)}step ${step.step}/${totalSteps} | ${detail}\n`;
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
function drawColumns(columns: readonly Column[]): string {
  const marks = columns.flatMap(({ sum, count, validationLoss }, column) => [
    { column, loss: sum / count, mark: MARKS.train },
    ...(validationLoss === undefined
      ? []
      : [{ column, loss: validationLoss, mark: MARKS.validation }]),
  ]);
  const losses = marks.map(({ loss }) => loss);
  const [low, high] = [smallest(losses), largest(losses)];
  const grid = Array.from({ length: HEIGHT }, () => Array.from({ length: WIDTH }, () => ' '));
  for (const { column, loss, mark } of marks) {
    const share = high > low ? (loss - low) / (high - low) : 0;
    grid[Math.round((1 - share) * (HEIGHT - 1))]![column] = mark;
  }
  const rows = grid.map((cells, row) => {
    const value = high - (row / (HEIGHT - 1)) * (high - low);
    return `${value.toFixed(3).padStart(9)} ┤${cells.join('').trimEnd()}\n`;
  });
  return rows.join('');
}
