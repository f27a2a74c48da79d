// The loss over rows that nothing is learned from.
import type { Dataset } from '../data/load-dataset.ts';
import { assembleTightBatch } from '../data/micro-batch.ts';
import { planValidation } from '../data/validation-plan.ts';
import type { Validation } from '../metrics.ts';
import type { LossSums, TrainModel } from '../types.ts';

export async function validate(
  model: Pick<TrainModel, 'evaluate'>,
  { examples }: Dataset,
  batchSize: number,
): Promise<Validation> {
  const lengths = examples.map(({ ids }) => ids.length);
  const sums = { loss: 0, weight: 0, count: 0, hits: 0 };
  for (const plan of planValidation(lengths, batchSize)) {
    addSums(sums, await model.evaluate(assembleTightBatch(examples, plan)));
  }
  return {
    validationLoss: sums.loss / sums.weight,
    validationTokenAccuracy: sums.hits / sums.count,
  };
}

export function addSums(sums: { -readonly [K in keyof LossSums]: number }, more: LossSums): void {
  sums.loss += more.loss;
  sums.weight += more.weight;
  sums.count += more.count;
  sums.hits += more.hits;
}
