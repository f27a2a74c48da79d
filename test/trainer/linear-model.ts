// A model for the loop's tests, small enough to be followed by hand: logits = table[input] (a bigram model), with a bias.
import type {
  LossSums,
  MicroBatch,
  Parameter,
  TrainModel,
  WeighTargets,
} from '../../trainer/types.ts';
import { seededRandom } from '../fixtures.ts';

export const LINEAR_VOCAB = 16;

export interface LinearModel extends TrainModel {
  /** Calls of `setDropoutStep`, as "step/microBatch". */
  readonly drawn: string[];
}

export function linearModel(seed = 1): LinearModel {
  const random = seededRandom(seed);
  const values = (count: number) => new Float32Array(count).map(() => random());
  const parameter = (name: string, shape: number[], decays: boolean): Parameter => {
    const count = shape.reduce((a, b) => a * b, 1);
    return { name, shape, data: values(count), grad: new Float32Array(count), decays };
  };
  const table = parameter('table.weight', [LINEAR_VOCAB, LINEAR_VOCAB], true);
  const bias = parameter('table.bias', [LINEAR_VOCAB], false);
  const drawn: string[] = [];
  const lossAt = (batch: MicroBatch, i: number) => {
    const base = batch.inputIds[i]! * LINEAR_VOCAB;
    const logits = Array.from(bias.data, (b, v) => b + table.data[base + v]!);
    const largest = Math.max(...logits);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    const loss = Math.log(total) + largest - logits[batch.targets[i]!]!;
    return { base, logits, largest, total, loss };
  };
  const countedIn = ({ targets }: MicroBatch) =>
    [...targets.keys()].filter((i) => targets[i]! >= 0);
  const score = (batch: MicroBatch) => countedIn(batch).map((i) => -lossAt(batch, i).loss);
  const run = (batch: MicroBatch, isTraining: boolean, weigh?: WeighTargets): LossSums => {
    const sums = { loss: 0, weight: 0, count: 0, hits: 0 };
    const weights = weigh?.(score(batch));
    for (const [n, i] of countedIn(batch).entries()) {
      const target = batch.targets[i]!;
      const weight = weights?.[n] ?? batch.weights[i]!;
      const { base, logits, largest, total, loss } = lossAt(batch, i);
      sums.loss += weight * loss;
      sums.weight += weight;
      sums.count++;
      if (logits.indexOf(largest) === target) sums.hits++;
      if (!isTraining) continue;
      for (const [v, logit] of logits.entries()) {
        const error = Math.exp(logit - largest) / total - (v === target ? 1 : 0);
        table.grad[base + v]! += weight * error;
        bias.grad[v]! += weight * error;
      }
    }
    return sums;
  };
  return {
    parameters: [table, bias],
    drawn,
    accumulate: async (batch, weigh) => run(batch, true, weigh),
    evaluate: async (batch) => run(batch, false),
    score: async (batch) => score(batch),
    setDropoutStep: (step, microBatch) => drawn.push(`${step}/${microBatch}`),
    release: async () => {},
  };
}
