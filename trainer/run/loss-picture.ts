// Plots a run's training loss, validation loss and learning rate as one SVG. It needs no external fonts, scripts or styles.
import { largest, smallest } from '../../src/common/long-arrays.ts';
import type { StepMetrics } from '../../src/contracts/metrics.ts';

const WIDTH = 860;
const HEIGHT = 420;
const MARGIN = { left: 64, right: 24, top: 40, bottom: 48 };
const TICKS = 5;
/** More points than the plot has pixels across are not visible. */
const MAX_POINTS = WIDTH;

interface Point {
  readonly x: number;
  readonly y: number;
}

type Project = (step: number, value: number) => Point;

/** Returns the plot. @param title such as the adapter's name */
export function plotSvg(all: readonly StepMetrics[], title: string): string {
  const rows = thinned(all);
  const validated = thinned(all.filter(({ validationLoss }) => validationLoss !== undefined));
  const steps = rows.map(({ step }) => step);
  const losses = [
    ...rows.map(({ loss }) => loss),
    ...validated.map(({ validationLoss }) => validationLoss!),
  ];
  const [low, high] = [smallest(losses), largest(losses)];
  const lossAt = projection(steps, low, high);
  const rateAt = projection(steps, 0, largest(rows.map(({ learningRate }) => learningRate)));
  const validations = validated.map(({ step, validationLoss }) => lossAt(step, validationLoss!));
  const train = rows.map(({ step, loss }) => lossAt(step, loss));
  const rates = rows.map(({ step, learningRate }) => rateAt(step, learningRate));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img" aria-label="Loss by step">
<rect width="100%" height="100%" fill="#fff"/>
<text x="${MARGIN.left}" y="24" font-size="15">${escapeXml(title)}</text>
${axes(low, high, steps, lossAt)}
${polyline(rates, 'stroke="#bbb" stroke-dasharray="4 4"')}
${polyline(train, 'stroke="#1f6fb4" stroke-width="1.5"')}
${polyline(validations, 'stroke="#d2691e" stroke-width="1.5"')}
${validations.map(({ x, y }) => `<circle cx="${x}" cy="${y}" r="3" fill="#d2691e"/>`).join('')}
${legend(validations.length > 0)}
</svg>
`;
}

/** Returns evenly spaced rows, with the last one. */
function thinned(rows: readonly StepMetrics[]): readonly StepMetrics[] {
  const every = Math.ceil(rows.length / MAX_POINTS);
  return rows.filter((_, i) => i % every === 0 || i === rows.length - 1);
}

function projection(steps: readonly number[], low: number, high: number): Project {
  const first = steps[0] ?? 0;
  const span = Math.max(1, (steps.at(-1) ?? 0) - first);
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const width = WIDTH - MARGIN.left - MARGIN.right;
  const range = high > low ? high - low : 1;
  return (step, value) => ({
    x: round(MARGIN.left + (width * (step - first)) / span),
    y: round(MARGIN.top + height * (1 - (value - low) / range)),
  });
}

function axes(low: number, high: number, steps: readonly number[], lossAt: Project): string {
  const [first, last] = [steps[0] ?? 0, steps.at(-1) ?? 0];
  const marks = Array.from({ length: TICKS }, (_, i) => i / (TICKS - 1));
  const rows = marks.map((share) => {
    const value = low + share * (high - low);
    const { y } = lossAt(first, value);
    return `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y}" y2="${y}" stroke="#eee"/><text x="${MARGIN.left - 8}" y="${y + 4}" text-anchor="end">${value.toPrecision(3)}</text>`;
  });
  const columns = marks.map((share) => {
    const step = Math.round(first + share * (last - first));
    const { x } = lossAt(step, low);
    return `<text x="${x}" y="${HEIGHT - 26}" text-anchor="middle">${step}</text>`;
  });
  return [...rows, ...columns].join('\n');
}

function polyline(points: readonly Point[], attributes: string): string {
  if (points.length === 0) return '';
  const list = points.map(({ x, y }) => `${x},${y}`).join(' ');
  return `<polyline fill="none" ${attributes} points="${list}"/>`;
}

function legend(hasValidation: boolean): string {
  const y = HEIGHT - 8;
  const entries: readonly (readonly [string, string])[] = [
    ['#1f6fb4', 'training loss'],
    ...(hasValidation ? ([['#d2691e', 'validation loss']] as const) : []),
    ['#999', 'learning rate (own scale)'],
  ];
  return entries
    .map(
      ([color, name], i) =>
        `<text x="${MARGIN.left + 180 * i}" y="${y}" fill="${color}">${name}</text>`,
    )
    .join('');
}

function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };
  return text.replace(/[&<>]/g, (character) => entities[character]!);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
