// Takes validation rows out of the training rows, and rows out that teach nothing: which ones follows from the seed.
import { createRandom, shuffle, streamSeed } from '../random.ts';
import { countTrained } from './example.ts';
import { type Dataset, describeExamples } from './load-dataset.ts';

/** Both keep the file's order. A share above 0 takes at least one row and leaves at least one. */
export function splitDataset(
  dataset: Dataset,
  share: number,
  seed: number,
): { train: Dataset; validation: Dataset } | undefined {
  const { examples, counts } = dataset;
  if (share === 0 || examples.length < 2) return undefined;
  const wanted = Math.round(share * examples.length);
  const count = Math.min(Math.max(1, wanted), examples.length - 1);
  const order = shuffle([...examples.keys()], createRandom(streamSeed(seed, 'validation split')));
  const taken = new Set(order.slice(0, count));
  const part = (isValidation: boolean) =>
    describeExamples(
      examples.filter((_, index) => taken.has(index) === isValidation),
      counts.truncated,
    );
  return { train: part(false), validation: part(true) };
}

/** Without the examples that have nothing to learn; the counts still tell of them. */
export function dropMasked(dataset: Dataset): Dataset {
  if (dataset.counts.masked === 0) return dataset;
  const kept = dataset.examples.map((example) => countTrained(example) > 0);
  return {
    examples: dataset.examples.filter((_, index) => kept[index]),
    fingerprints: dataset.fingerprints.filter((_, index) => kept[index]),
    counts: dataset.counts,
  };
}
