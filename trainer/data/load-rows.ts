// Loads a run's training and validation rows.
import path from 'node:path';
import { ConfigError } from '../../src/common/errors.ts';
import type { TrainingOrigin } from '../../src/contracts/training-origin.ts';
import { tooFewDetail } from '../../src/rows/file-fault.ts';
import type { RowNotes } from '../../src/rows/row-schema.ts';
import { seededRandom, shuffle, streamSeed } from '../random.ts';
import { countTrained, DatasetError } from './example.ts';
import {
  type Dataset,
  describeExamples,
  type FileDataset,
  type LoadOptions,
  loadDataset,
} from './load-dataset.ts';

/** The rows of a run. */
export interface TrainingRows {
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
  /** The digests of the files with the rows. */
  readonly files: Pick<TrainingOrigin, 'data' | 'validation'>;
  /** Absent: the training rows come from no file. */
  readonly notes?: RowNotes;
}

/** The settings of a job that choose its rows. */
interface TrainingRowFiles {
  readonly data: string;
  readonly validation?: string | undefined;
  /** The share of `data` that is held out for validation. */
  readonly validationSplit: number;
  readonly seed: number;
  /** The most validation rows, drawn by the seed. Absent: all. */
  readonly evalSamples?: number | undefined;
}

/** Options of the conversion from rows to examples, and the required number of examples. */
interface LoadRowsOptions extends LoadOptions {
  /** The fewest examples of `data`. */
  readonly minExamples: number;
}

/** Loads the rows of a run. @throws DatasetError, or ConfigError if one row cannot be split */
export async function loadRows(
  { data, validation, validationSplit, seed, evalSamples }: TrainingRowFiles,
  { minExamples, ...options }: LoadRowsOptions,
): Promise<TrainingRows> {
  const all = await loadDataset(data, options);
  refuseFew(data, all, minExamples);
  if (validationSplit > 0 && all.examples.length < 2) {
    throw new ConfigError(
      `validationSplit: needs two rows, one of which is held out, but ${path.basename(data)} has one. Add rows, or leave it out.`,
    );
  }
  const held = validation === undefined ? undefined : await loadValidation(validation, options);
  const split = splitDataset(all, validationSplit, seed) ?? { train: all, validation: held };
  const rows = { ...split, validation: drawRows(split.validation, evalSamples, seed) };
  refuseMasked(data, rows.train);
  if (rows.validation && validation === undefined) refuseMasked(data, rows.validation);
  const files = { data: all.file, ...(held && { validation: held.file }) };
  return { ...rows, files, notes: all.notes };
}

/** Loads validation rows. @throws DatasetError for the validation file */
export async function loadValidation(file: string, options: LoadOptions): Promise<FileDataset> {
  try {
    const dataset = await loadDataset(file, options);
    refuseMasked(file, dataset);
    return dataset;
  } catch (error) {
    throw error instanceof DatasetError ? error.ofValidation() : error;
  }
}

function refuseFew(file: string, { counts }: Dataset, minExamples: number): void {
  if (counts.examples >= minExamples) return;
  const detail = tooFewDetail(counts.examples, minExamples);
  throw new DatasetError(path.basename(file), detail, { code: 'invalid_n_examples' });
}

/** The mean loss over no tokens would be NaN. */
function refuseMasked(file: string, { counts }: Dataset): void {
  if (counts.trainedTokens > 0) return;
  const why =
    'every label is masked, has weight 0, was cut off by maxLength, or does not follow an invocation of alora';
  throw new DatasetError(path.basename(file), `has nothing to learn from: ${why}`);
}

/**
 * Holds out a share of the rows for validation, chosen by the seed. Both parts keep the file's order. A share above 0 takes at
 * least one row and leaves at least one.
 */
export function splitDataset(
  dataset: Dataset,
  share: number,
  seed: number,
): { train: Dataset; validation: Dataset } | undefined {
  const { examples, counts } = dataset;
  if (share === 0) return undefined;
  const wanted = Math.round(share * examples.length);
  const count = Math.min(Math.max(1, wanted), examples.length - 1);
  const taken = draw(dataset, count, streamSeed(seed, 'validation split'));
  const part = (isValidation: boolean) =>
    describeExamples(
      examples.filter((_, index) => taken.has(index) === isValidation),
      counts.truncated,
    );
  return { train: part(false), validation: part(true) };
}

/** Draws `count` indices of a dataset. */
function draw({ examples }: Dataset, count: number, seed: number): ReadonlySet<number> {
  return new Set(shuffle([...examples.keys()], seededRandom(seed)).slice(0, count));
}

/** Draws rows, which keep their order. */
function drawRows(
  dataset: Dataset | undefined,
  count: number | undefined,
  seed: number,
): Dataset | undefined {
  if (!dataset || count === undefined || count >= dataset.examples.length) return dataset;
  const taken = draw(dataset, count, streamSeed(seed, 'evalSamples'));
  const examples = dataset.examples.filter((_, index) => taken.has(index));
  return describeExamples(examples, dataset.counts.truncated);
}

/** Returns the dataset without examples that have no trained token. The counts still include them. */
export function dropMasked(dataset: Dataset): Dataset {
  if (dataset.counts.masked === 0) return dataset;
  const kept = dataset.examples.map((example) => countTrained(example) > 0);
  return {
    examples: dataset.examples.filter((_, index) => kept[index]),
    fingerprints: dataset.fingerprints.filter((_, index) => kept[index]),
    counts: dataset.counts,
  };
}
