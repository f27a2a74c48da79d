// One pass of a model over sequences with a loss of tokens: forward, and backward unless only the values are wanted.
import {
  type PassResult,
  TOKEN_LOSS_SHAPES,
  type TokenDatum,
  type TokenLossChoice,
} from '../../src/contracts/training-service.ts';
import type { Example } from '../data/example.ts';
import { assembleSequences } from '../data/micro-batch.ts';
import { TOKEN_LOSSES } from '../token-losses.ts';
import type { TrainModel } from '../types.ts';

/** The parts of a pass. */
interface PassOptions {
  /** A micro-batch. */
  readonly data: readonly TokenDatum[];
  readonly loss: TokenLossChoice;
  readonly isForwardOnly: boolean;
}

/** Computes the loss of the sequences, and adds its gradients unless `isForwardOnly`. */
export async function runPass(
  model: TrainModel,
  { data, loss: { name, config }, isForwardOnly }: PassOptions,
): Promise<PassResult> {
  const lossOf = TOKEN_LOSSES[name];
  const parameters = { ...TOKEN_LOSS_SHAPES[name].parameters, ...config };
  const plan = data.map((_, index) => [index]);
  const { batch, sequences, offsets } = assembleSequences(data.map(toExample), plan);
  const logProbs = data.map(({ targets }) => new Float32Array(targets.length));
  let loss = 0;
  const weigh = (scores: readonly number[]) => {
    for (const [i, sequence] of sequences.entries()) logProbs[sequence]![offsets[i]!] = scores[i]!;
    const slopes = data.map(({ inputs }, i) => {
      const result = lossOf({ logProbs: logProbs[i]!, inputs }, parameters);
      loss += result.loss;
      return result.slopes;
    });
    // A token's loss is its negative log-probability.
    return Float32Array.from(sequences, (sequence, i) => -slopes[sequence]![offsets[i]!]!);
  };
  if (isForwardOnly) weigh(await model.score(batch));
  else await model.accumulate(batch, weigh);
  return { logProbs, loss };
}

/** An example's labels are not shifted, so the sequence gets one more position, which is never read. */
function toExample({ inputIds, targets }: TokenDatum): Example {
  const ids = new Int32Array(inputIds.length + 1);
  ids.set(inputIds);
  const labels = new Int32Array(ids.length).fill(-1);
  labels.set(targets, 1);
  return { ids, labels, weights: undefined };
}
