// The classes of a classifier, collected from the labels of its training rows or read from an adapter. A class's number is its
// row in the classification head.

import path from 'node:path';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { MAX_LABELS } from '../../src/contracts/training-settings.ts';
import { badLinesDetail } from '../../src/rows/file-fault.ts';
import {
  orRowError,
  parseRow,
  type TrainingRow,
  TrainingRowError,
} from '../../src/rows/row-schema.ts';
import { DatasetError } from './example.ts';
import { readLines } from './training-lines.ts';

/** The label of a row. */
type Label = Extract<TrainingRow, { kind: 'labelled' }>['label'];

/** The classes of a classifier. */
export interface Classes {
  /** By class number. */
  readonly names: readonly string[];
  /** Returns a label's number. @throws TrainingRowError naming the field */
  numberOf(label: Label): number;
}

/** `adapter_config.json` contains the names, and the server reads at most 64 KiB of it. */
const MAX_NAMES_BYTES = 48 * 1024;

/** A file that starts with this many texts without a label is not read further: it contains plain texts. */
const MAX_UNLABELLED = 1_000;

/** Returns the classes of an adapter. Its names may stem from labels of either type. */
export function namedClasses(names: readonly string[]): Classes {
  const numbers = new Map(names.map((name, number) => [name, number]));
  return {
    names,
    numberOf(label) {
      const number = numbers.get(String(label));
      if (number !== undefined) return number;
      throw new TrainingRowError(
        `label: ${JSON.stringify(label)} is not a label of the classifier`,
      );
    },
  };
}

/**
 * Collects the classes of a training file. Numbers are sorted in ascending order, texts by UTF-16 code units. Returns undefined
 * if the rows have no labels. Bad rows are left to `loadDataset`.
 * @throws DatasetError if there is only one class, or too many
 */
export async function readClasses(file: string): Promise<Classes | undefined> {
  const labels = new Set<Label>();
  let first: { readonly line: number; readonly label: Label } | undefined;
  let unlabelled = 0;
  for await (const { number: line, text } of readLines(file)) {
    const row = text === undefined ? undefined : orRowError(() => parseRow(text));
    if (!row || row instanceof TrainingRowError) continue;
    if (row.kind === 'labelled') {
      first ??= { line, label: row.label };
      if (typeof row.label === typeof first.label) labels.add(row.label);
      if (labels.size > MAX_LABELS) break;
    } else if (!first) {
      if (row.kind !== 'text' || ++unlabelled >= MAX_UNLABELLED) return undefined;
    }
  }
  if (!first) return undefined;
  refuseCount(file, labels, first.line);
  return { ...namedClasses(sorted(labels).map(String)), numberOf: numbering(labels, first) };
}

function sorted(labels: ReadonlySet<Label>): Label[] {
  return [...labels].sort((a, b) => (a < b ? -1 : 1));
}

/** All labels of a file have one type, because 1 and "1" would give two classes the same name. */
function numbering(
  labels: ReadonlySet<Label>,
  first: { readonly line: number; readonly label: Label },
): Classes['numberOf'] {
  const numbers = new Map(sorted(labels).map((label, number) => [label, number]));
  const type = typeof first.label === 'string' ? 'text' : 'number';
  return (label) => {
    if (typeof label !== typeof first.label)
      throw new TrainingRowError(
        `label: must be a ${type}, as in line ${first.line} of the training rows`,
      );
    const number = numbers.get(label);
    if (number !== undefined) return number;
    throw new TrainingRowError(
      `label: ${JSON.stringify(label)} is not a label of the training rows`,
    );
  };
}

function refuseCount(file: string, labels: ReadonlySet<Label>, line: number): void {
  const refuse = (message: string) => {
    const faults = [{ line, message: `label: ${message}` }];
    throw new DatasetError(path.basename(file), badLinesDetail(1), { faults });
  };
  const [only] = labels;
  if (labels.size === 1) {
    refuse(`is ${JSON.stringify(only)} in every row, but a classifier needs at least two labels`);
  }
  if (labels.size > MAX_LABELS) refuse(`the file has more than ${MAX_LABELS} different labels`);
  const names = [...labels].map(String);
  if (Buffer.byteLength(JSON.stringify(names)) > MAX_NAMES_BYTES)
    refuse(`the labels of the file take more than ${formatFileSize(MAX_NAMES_BYTES)} together`);
}
