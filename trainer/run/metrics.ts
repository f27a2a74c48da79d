// The metrics of each optimizer step, as JSON lines and as OpenAI's result table.

import type { StepGrading } from '../../src/contracts/grading-summary.ts';
import {
  OBJECTIVE_METRICS,
  type RunMetrics,
  resultColumns,
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
