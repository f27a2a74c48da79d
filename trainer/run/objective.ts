// The objective of a run: the loss of its tokens (or classes), the loss of preferences between two
// sequences, or the loss of rewarded samples (`reinforcement.ts`).
import { assert } from '../../src/common/assert.ts';
import type { StepGrading } from '../../src/contracts/grading-summary.ts';
import type { ObjectiveMetrics } from '../../src/contracts/metrics.ts';
import type { Preference } from '../../src/contracts/preference-settings.ts';
import type { MicroBatchPlan, StepBatches } from '../data/epoch-plan.ts';
import type { Dataset } from '../data/load-dataset.ts';
import { assembleSequences, assembleTightBatch } from '../data/micro-batch.ts';
import { guessClasses } from '../evaluation/classifier-scores.ts';
import { measureValidation } from '../evaluation/losses.ts';
import {
  countsOf,
  guessPairs,
  measurePairs,
  sumBySequence,
  sumPairs,
} from '../evaluation/pairs.ts';
import { comparePairs, meanMetrics } from '../preference.ts';
import type { LossSums, TrainModel } from '../types.ts';
import type { SavedArray } from './checkpoint.ts';
import type { Validation } from './metrics.ts';

/** The data and the model of an objective. */
export interface ObjectiveOptions {
  readonly model: TrainModel;
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
  readonly batchSize: number;
  /** Whether the rows are labeled with classes. */
  readonly classifies: boolean;
  /** Present if the rows are pairs. */
  readonly preference: Preference | undefined;
}

/** The objective of a run. */
export interface RunObjective {
  /** Values that are measured before the first step and saved in every checkpoint. */
  readonly saved: readonly SavedArray[];
  /** The validation of guessing, which takes the place of the base's. Absent: the base is measured. */
  readonly guessed: Validation | undefined;
  /** Measures the saved values. The model must have its initial weights. Resolves with false if the signal stopped it. */
  prepare?(signal?: AbortSignal): Promise<boolean>;
  /** Prepares a step. */
  begin?(step: number, plans: StepBatches): Promise<void>;
  /** Adds the gradients of a micro-batch's loss. */
  accumulate(plan: MicroBatchPlan): Promise<LossSums>;
  /** Returns further metrics of the step, and the tokens that its rows lack. @param sums of all its micro-batches */
  metrics(sums: LossSums): ObjectiveMetrics & StepGrading & { readonly tokens?: number };
  /** Measures the validation rows. */
  validate(rows: Dataset): Promise<Validation>;
}

/** Creates the objective of a run whose rows have targets. */
export function createObjective(options: ObjectiveOptions): RunObjective {
  const { preference } = options;
  return preference ? new Preferences(options, preference) : supervised(options);
}

function supervised({
  model,
  train,
  validation,
  batchSize,
  classifies,
}: ObjectiveOptions): RunObjective {
  return {
    saved: [],
    guessed: validation && classifies ? guessClasses(validation) : undefined,
    metrics: () => ({}),
    accumulate: (plan) => model.accumulate(assembleTightBatch(train.examples, plan)),
    validate: (rows) => measureValidation(model, rows, batchSize),
  };
}

/**
 * DPO. The reference is the model before its first step: the base, because a new adapter changes nothing, or the adapter that
 * the run continues. Its sums are measured once, so no second adapter is needed.
 */
class Preferences implements RunObjective {
  readonly #options: ObjectiveOptions;
  readonly #preference: Preference;
  /** The sums under the reference, by dataset: [2P], chosen and rejected alternating. */
  readonly #references: ReadonlyMap<Dataset, Float32Array>;
  readonly saved: readonly SavedArray[];
  readonly guessed: Validation | undefined;

  constructor(options: ObjectiveOptions, preference: Preference) {
    const { train, validation } = options;
    this.#options = options;
    this.#preference = preference;
    const datasets = { train, ...(validation && { validation }) };
    this.saved = Object.entries(datasets).map(([name, { examples }]) => ({
      name: `reference.${name}`,
      shape: [examples.length, 2],
      data: new Float32Array(2 * examples.length),
    }));
    this.#references = new Map(
      Object.values(datasets).map((dataset, i) => [dataset, this.saved[i]!.data]),
    );
    this.guessed = validation && guessPairs(preference);
  }

  async prepare(signal?: AbortSignal): Promise<boolean> {
    const { model, batchSize } = this.#options;
    for (const [dataset, reference] of this.#references) {
      const sums = await sumPairs(model, dataset, { batchSize, signal });
      if (!sums) return false;
      reference.set(sums);
    }
    return true;
  }

  metrics(sums: LossSums): ObjectiveMetrics {
    return meanMetrics(sums);
  }

  async accumulate(plan: MicroBatchPlan): Promise<LossSums> {
    const { model, train } = this.#options;
    const { batch, sequences } = assembleSequences(train.examples, plan);
    const pairs = plan.flat();
    const known = this.#references.get(train)!;
    const reference = pairs.flatMap((index) => [known[2 * index]!, known[2 * index + 1]!]);
    const counts = countsOf(pairs.map((index) => train.examples[index]!));
    let losses: LossSums | undefined;
    await model.accumulate(batch, (logProbs) => {
      const sums = sumBySequence(logProbs, sequences, counts.length);
      const compared = comparePairs({ sums, reference, counts }, this.#preference);
      losses = compared.sums;
      return Float32Array.from(sequences, (sequence) => compared.weights[sequence]!);
    });
    assert(losses, 'the model weighs the targets of every micro-batch');
    return losses;
  }

  validate(rows: Dataset): Promise<Validation> {
    const { model, batchSize } = this.#options;
    const reference = this.#references.get(rows)!;
    return measurePairs(model, rows, { reference, preference: this.#preference, batchSize });
  }
}
