// Measures losses on validation rows and on a fixed text, with and without the adapter.

import type { ModelText } from '../data/encode-row.ts';
import { planValidation } from '../data/epoch-plan.ts';
import type { Example } from '../data/example.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleTightBatch } from '../data/micro-batch.ts';
import { addMetrics } from '../preference.ts';
import type { Validation } from '../run/metrics.ts';
import type { LossSums, Parameter, TrainModel } from '../types.ts';

/** The losses of the base without the adapter. Null if there was no data. */
interface BaseLosses {
  readonly validation: Validation | null;
  /** Mean loss on the fixed text, in nats. */
  readonly textLoss: number | null;
}

/** The data to measure the base on. */
interface BaseProbes {
  /** Takes the place of a validation. */
  readonly guessed: Validation | undefined;
  /** Measures the validation rows; null if there are none. */
  validate(): Promise<Validation | null>;
  /** The fixed text. Undefined if the model has no tokenizer, or for a classifier. */
  readonly text: Example | undefined;
}

/** Measures the base's losses. The model's weights are unchanged afterwards. */
export function measureBase(
  model: Pick<TrainModel, 'parameters' | 'evaluate'>,
  { guessed, validate, text }: BaseProbes,
): Promise<BaseLosses> {
  return withoutAdapter(model.parameters, async () => {
    const sums = text && (await model.evaluate(assembleTightBatch([text], [[0]])));
    return {
      validation: guessed ?? (await validate()),
      textLoss: sums ? sums.loss / sums.weight : null,
    };
  });
}

/** Returns the loss and the accuracy of tokens, or of classes, over a dataset. */
export async function measureValidation(
  model: Pick<TrainModel, 'evaluate'>,
  { examples }: Dataset,
  batchSize: number,
): Promise<Validation> {
  let sums = NO_LOSS;
  for (const plan of planValidation(examples, batchSize)) {
    sums = addLossSums(sums, await model.evaluate(assembleTightBatch(examples, plan)));
  }
  return {
    validationLoss: sums.loss / sums.weight,
    validationTokenAccuracy: sums.hits / sums.count,
  };
}

/** The sums before the first micro-batch. */
export const NO_LOSS: LossSums = { loss: 0, weight: 0, count: 0, hits: 0 };

/** Returns the totals with a micro-batch's sums added. */
export function addLossSums(sums: LossSums, more: LossSums): LossSums {
  return {
    loss: sums.loss + more.loss,
    weight: sums.weight + more.weight,
    count: sums.count + more.count,
    hits: sums.hits + more.hits,
    ...(more.pairs && { pairs: addMetrics(sums.pairs, more.pairs) }),
  };
}

/** Runs `work` on the base: during the call the adapter's weights change nothing. They are restored afterwards. */
export async function withoutAdapter<T>(
  parameters: readonly Pick<Parameter, 'data' | 'neutral'>[],
  work: () => Promise<T>,
): Promise<T> {
  const saved = parameters.map(({ data }) => data.slice());
  for (const { data, neutral } of parameters) neutral ? data.set(neutral) : data.fill(0);
  try {
    return await work();
  } finally {
    for (const [i, { data }] of parameters.entries()) data.set(saved[i]!);
  }
}

/**
 * The text that measures forgetting: about 200 tokens of plain English on many topics. It was written for this purpose, so no
 * model can have memorized it. If it changes, the gate's limit must be measured again.
 */
const PROBE_TEXT = `The town lies on a slow river, about forty miles from the sea. In the morning boats come up \
with the tide and bring fish, salt and news; in the evening they go down again with flour, wool and apples. Most houses \
are built of grey stone, because wood was always scarce here, and their roofs are steep so that snow slides off. A bridge \
of five arches joins the two halves of the town. It was finished in 1843, after the third flood in twelve years had \
carried away the old one.

Water boils at a lower temperature on a mountain than at the coast, since the air above it presses less. This is why beans \
take longer to cook in a high valley, and why a lid helps. Plants turn light, water and carbon dioxide into sugar and \
oxygen. When the first engineers measured steam, they counted how many pounds of coal would lift how many tons of water, \
and paid their workers by the difference. If a train leaves at nine and travels at sixty miles an hour, it arrives at a \
station ninety miles away at half past ten.`;

/** The model's properties that decide how the fixed text is encoded. */
interface ProbedModelText {
  readonly modelText: ModelText | undefined;
  readonly classifies: boolean;
  readonly maxPositions: number;
  /** Tokens to put before the text. Without them an activated LoRA would not apply. */
  readonly invocation: readonly number[] | undefined;
}

/** Returns the fixed text as an example with every token in the loss; undefined if the model generates no text. */
export function probeExample({
  modelText,
  classifies,
  maxPositions,
  invocation = [],
}: ProbedModelText): Example | undefined {
  if (!modelText || classifies) return undefined;
  const tokens = modelText.tokenizer.encode(PROBE_TEXT, { specials: false, affixes: true });
  const ids = Int32Array.from([...invocation, ...tokens].slice(0, maxPositions));
  const labels = ids.map((id, i) => (i < invocation.length ? -1 : id));
  return { ids, labels, weights: undefined };
}
