// What the base alone, without the adapter, makes of the validation rows and of a plain text: what an adapter is compared
// with.
import type { Example } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleTightBatch } from '../data/micro-batch.ts';
import type { Validation } from '../metrics.ts';
import type { TrainModel } from '../types.ts';
import { validate } from './validate.ts';
import { withoutAdapter } from './without-adapter.ts';

/** Null where there was nothing to measure with. */
export interface BaseLosses {
  readonly validation: Validation | null;
  /** Mean over the fixed text, in nats. */
  readonly textLoss: number | null;
}

export interface BaseProbes {
  readonly validation: Dataset | undefined;
  /** The fixed text; undefined where the model has no tokenizer. */
  readonly text: Example | undefined;
  readonly batchSize: number;
}

/** Resolves with the model's weights as they were. */
export function measureBase(
  model: Pick<TrainModel, 'parameters' | 'evaluate'>,
  { validation, text, batchSize }: BaseProbes,
): Promise<BaseLosses> {
  return withoutAdapter(model.parameters, async () => {
    const sums = text && (await model.evaluate(assembleTightBatch([text], [[0]])));
    return {
      validation: validation ? await validate(model, validation, batchSize) : null,
      textLoss: sums ? sums.loss / sums.weight : null,
    };
  });
}
