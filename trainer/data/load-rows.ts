// The rows of a run: those that are learned, and those that it is measured on. What neither can use is refused.
import path from 'node:path';
import { tooFewDetail } from '../../src/rows/file-fault.ts';
import { DatasetError } from './example.ts';
import { type Dataset, type LoadOptions, loadDataset } from './load-dataset.ts';
import { splitDataset } from './split.ts';

export interface Rows {
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
}

export interface RowFiles {
  readonly data: string;
  readonly validation?: string | undefined;
  /** Share of the rows of `data` that is kept for validation. */
  readonly validationSplit: number;
  readonly seed: number;
}

export interface LoadRowsOptions extends LoadOptions {
  /** Of `data`; fewer are refused. */
  readonly minExamples: number;
}

/** @throws DatasetError */
export async function loadRows(
  { data, validation, validationSplit, seed }: RowFiles,
  { minExamples, ...options }: LoadRowsOptions,
): Promise<Rows> {
  const all = await loadDataset(data, options);
  refuseFew(data, all, minExamples);
  const rows = splitDataset(all, validationSplit, seed) ?? {
    train: all,
    validation: validation === undefined ? undefined : await loadValidation(validation, options),
  };
  refuseMasked(data, rows.train);
  if (rows.validation && validation === undefined) refuseMasked(data, rows.validation);
  return rows;
}

/** @throws DatasetError, of the validation file */
export async function loadValidation(file: string, options: LoadOptions): Promise<Dataset> {
  try {
    const dataset = await loadDataset(file, options);
    refuseMasked(file, dataset);
    return dataset;
  } catch (error) {
    throw error instanceof DatasetError ? error.ofValidation() : error;
  }
}

/** In OpenAI's words. */
function refuseFew(file: string, { counts }: Dataset, minExamples: number): void {
  if (counts.examples >= minExamples) return;
  const detail = tooFewDetail(counts.examples, minExamples);
  throw new DatasetError(path.basename(file), detail, { code: 'invalid_n_examples' });
}

/** A loss over nothing is no number. */
function refuseMasked(file: string, { counts }: Dataset): void {
  if (counts.trainedTokens > 0) return;
  const why = 'every label is masked, has weight 0 or was cut off by maxLength';
  throw new DatasetError(path.basename(file), `has nothing to learn from: ${why}`);
}
