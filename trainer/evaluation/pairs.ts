// Measures pairs: the summed log-probabilities of their outputs, and from them loss, accuracy and rewards.
import { evalMetrics } from '../../src/contracts/metrics.ts';
import { DEFAULT_PREFERENCE, type Preference } from '../../src/contracts/preference-settings.ts';
import { planValidation } from '../data/epoch-plan.ts';
import { countLabels, type Example, sequencesOf } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleSequences } from '../data/micro-batch.ts';
import { comparePairs, lossOfReference, meanMetrics } from '../preference.ts';
import type { Validation } from '../run/metrics.ts';
import type { TrainModel } from '../types.ts';
import { withoutAdapter } from './losses.ts';

/** Returns the preference by which a dataset of pairs is measured if no job says one; undefined for other datasets. */
export function preferenceOf({ examples }: Dataset): Preference | undefined {
  return examples[0]?.rejected ? DEFAULT_PREFERENCE : undefined;
}

/**
 * Returns the summed log-probabilities of the sequences of P pairs: [2P], chosen and rejected alternating. Undefined if the signal
 * aborts.
 */
export async function sumPairs(
  model: Pick<TrainModel, 'score'>,
  { examples }: Pick<Dataset, 'examples'>,
  { batchSize, signal }: { batchSize: number; signal?: AbortSignal | undefined },
): Promise<Float32Array | undefined> {
  const sums = new Float32Array(2 * examples.length);
  for (const plan of planValidation(examples, batchSize)) {
    if (signal?.aborted) return undefined;
    const { batch, sequences } = assembleSequences(examples, plan);
    const own = sumBySequence(await model.score(batch), sequences, 2 * plan.flat().length);
    for (const [pair, index] of plan.flat().entries()) {
      sums.set(own.subarray(2 * pair, 2 * pair + 2), 2 * index);
    }
  }
  return sums;
}

/** Sums log-probabilities by the number of their sequence. */
export function sumBySequence(
  logProbs: readonly number[],
  sequences: Int32Array,
  count: number,
): Float64Array {
  const sums = new Float64Array(count);
  for (const [target, sequence] of sequences.entries()) {
    sums[sequence] = sums[sequence]! + logProbs[target]!;
  }
  return sums;
}

/** Returns [2P]: the number of trained tokens of each sequence. */
export function countsOf(examples: readonly Example[]): number[] {
  return examples.flatMap((example) => sequencesOf(example).map(countLabels));
}

/** Measures a dataset of pairs. @param reference the pairs' sums under the reference */
export async function measurePairs(
  model: Pick<TrainModel, 'score'>,
  { examples }: Dataset,
  { reference, preference, batchSize }: PairMeasure,
): Promise<Validation> {
  const sums = (await sumPairs(model, { examples }, { batchSize }))!;
  const compared = comparePairs({ sums, reference, counts: countsOf(examples) }, preference);
  const { loss, weight, count, hits } = compared.sums;
  return {
    validationLoss: loss / weight,
    validationTokenAccuracy: hits / count,
    ...evalMetrics(meanMetrics(compared.sums)),
  };
}

interface PairMeasure {
  readonly reference: Float32Array;
  readonly preference: Preference;
  readonly batchSize: number;
}

/** Returns the loss and the accuracy of a model that equals its reference: all margins are 0, so it can only guess. */
export function guessPairs(preference: Preference): Validation {
  return { validationLoss: lossOfReference(preference), validationTokenAccuracy: 0.5 };
}

/** Measures an adapter with its base as the reference. */
export async function measureAgainstBase(
  model: Pick<TrainModel, 'parameters' | 'score'>,
  dataset: Dataset,
  { preference, batchSize }: Omit<PairMeasure, 'reference'>,
): Promise<Validation> {
  const { parameters } = model;
  const measure = () => sumPairs(model, dataset, { batchSize });
  const reference = (await withoutAdapter(parameters, measure))!;
  return measurePairs(model, dataset, { reference, preference, batchSize });
}
