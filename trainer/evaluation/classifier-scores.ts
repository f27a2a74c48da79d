// Measures a classifier on rows: its F1, and for comparison the loss and accuracy of guessing.
import { assert } from '../../src/common/assert.ts';
import { largest } from '../../src/common/long-arrays.ts';
import { planValidation } from '../data/epoch-plan.ts';
import { classOf } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleBatch } from '../data/micro-batch.ts';
import type { Validation } from '../run/metrics.ts';
import type { ProbedModel } from '../types.ts';

/** Returns the mean F1 of the classes, between 0 and 1. A class that no row has and that is never predicted does not count. */
export async function measureMacroF1(
  model: Pick<ProbedModel, 'predict'>,
  { examples }: Dataset,
  batchSize: number,
): Promise<number> {
  const tallies = new Map<number, { rows: number; predictions: number; right: number }>();
  const tallyOf = (number: number) => {
    const tally = tallies.get(number) ?? { rows: 0, predictions: 0, right: 0 };
    tallies.set(number, tally);
    return tally;
  };
  for (const plan of planValidation(examples, batchSize)) {
    const predicted = await model.predict(assembleBatch(examples, plan));
    for (const [i, index] of plan.flat().entries()) {
      const actual = numberOf(examples[index]!);
      tallyOf(actual).rows++;
      tallyOf(predicted[i]!).predictions++;
      if (predicted[i] === actual) tallyOf(actual).right++;
    }
  }
  const f1s = Array.from(tallies.values(), (t) => (2 * t.right) / (t.rows + t.predictions));
  return f1s.reduce((sum, f1) => sum + f1, 0) / f1s.length;
}

/** Returns the loss and accuracy of always predicting with the classes' shares among these rows. */
export function guessClasses({ examples }: Dataset): Validation {
  const counts = new Map<number, number>();
  for (const example of examples) {
    const number = numberOf(example);
    counts.set(number, (counts.get(number) ?? 0) + 1);
  }
  const shares = Array.from(counts.values(), (count) => count / examples.length);
  return {
    validationLoss: -shares.reduce((sum, share) => sum + share * Math.log(share), 0),
    validationTokenAccuracy: largest(shares),
  };
}

function numberOf(example: Parameters<typeof classOf>[0]): number {
  const number = classOf(example);
  assert(number !== undefined, 'the examples of a classifier have classes');
  return number;
}
