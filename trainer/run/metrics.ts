// The metrics of each optimizer step, and their file formats: JSON lines, OpenAI's result table, a plot, and TensorBoard
// events.

import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { largest, smallest } from '../../src/common/long-arrays.ts';
import type { StepGrading } from '../../src/contracts/grading-summary.ts';
import {
  OBJECTIVE_METRICS,
  type RunMetrics,
  resultColumns,
  SCALARS,
  type StepMetrics,
} from '../../src/contracts/metrics.ts';

/** The result of a validation. For pairs and rewards, it also has their metrics. */
export type Validation = RunMetrics &
  Pick<StepGrading, 'validGrading'> & { readonly validationLoss: number };

/** A line about a step. */
export type Step = Pick<StepMetrics, 'step'>;

/** Parses JSON lines about the steps up to `lastStep`. A crash may have torn the last line. */
export function parseSteps<T extends Step>(text: string, lastStep: number): T[] {
  const rows: T[] = [];
  for (const line of text.split('\n')) {
    try {
      const row: T = JSON.parse(line);
      if (row.step <= lastStep) rows.push(row);
    } catch {
      // a torn or empty line
    }
  }
  return rows;
}

/** Serializes steps as JSON lines. */
export function serializeSteps(rows: readonly Step[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** Returns OpenAI's result table, with further columns for pairs. A cell is empty if its metric was not measured in the step. */
export function toResultCsv(rows: readonly StepMetrics[]): string {
  const measured = OBJECTIVE_METRICS.filter((name) => rows.some((row) => row[name] !== undefined));
  const columns = [
    ['step', 'step'] as const,
    ...resultColumns(rows[0]?.reward !== undefined),
    ...measured.map((name) => [name, name] as const),
  ];
  const header = columns.map(([column]) => column).join();
  const lines = rows.map((row) => columns.map(([, key]) => row[key] ?? '').join());
  return [header, ...lines].map((line) => `${line}\n`).join('');
}

// Plots a run's training loss, validation loss and learning rate as one SVG. It needs no external fonts, scripts or styles.

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

// Encodes TensorBoard's event file: TFRecord frames (length, masked CRC-32C, protobuf `Event`, masked CRC-32C) of scalars.
// Formats: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto.

/** TensorBoard finds files by this prefix. */
export const EVENT_FILE = 'events.out.tfevents.0.lorikeet';

/** Returns the first frame of a file. */
export function fileVersionRecord(wallTimeS: number): Uint8Array {
  return frame(eventAt(wallTimeS).tag(3, WireType.LengthDelimited).string('brain.Event:2'));
}

/** Returns the frame with one step's scalars. */
export function stepRecord(metrics: StepMetrics, wallTimeS: number): Uint8Array {
  const event = eventAt(wallTimeS).tag(2, WireType.Varint).int64(metrics.step);
  event.tag(5, WireType.LengthDelimited).fork();
  for (const [name, key] of SCALARS) {
    const value = metrics[key];
    if (value === undefined) continue;
    event.tag(1, WireType.LengthDelimited).fork();
    event.tag(1, WireType.LengthDelimited).string(name).tag(2, WireType.Bit32).float(value).join();
  }
  return frame(event.join());
}

function eventAt(wallTimeS: number): BinaryWriter {
  return new BinaryWriter().tag(1, WireType.Bit64).double(wallTimeS);
}

function frame(event: BinaryWriter): Uint8Array {
  const data = event.finish();
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return new Uint8Array(Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]));
}

/** The polynomial of CRC-32C, with its bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** Returns the CRC-32C of some bytes. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Masks a CRC as TFRecord does, because a CRC over data that contains CRCs is problematic. */
function maskedCrc(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}
