// One pass of a model over sequences with a loss of tokens: forward, and backward unless only the values are wanted.
import { largest } from '../../src/common/long-arrays.ts';
import {
  type PassResult,
  TOKEN_LOSS_SHAPES,
  type TokenDatum,
  type TokenLossChoice,
} from '../../src/contracts/training-service.ts';
import { planValidation } from '../data/epoch-plan.ts';
import type { Example } from '../data/example.ts';
import { assembleSequences } from '../data/micro-batch.ts';
import { TOKEN_LOSSES } from '../token-losses.ts';
import type { TrainModel } from '../types.ts';

/** The most tokens of a micro-batch, unless a single sequence is longer: enough for fast products, and a bound on memory. */
const BATCH_TOKENS = 2048;
/** The most sequences of a micro-batch, as in jobs by default. */
const BATCH_SEQUENCES = 8;

/** The parts of a pass. */
interface PassOptions {
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
  const examples = data.map(toExample);
  const logProbs = new Array<Float32Array>(data.length);
  let loss = 0;
  for (const plan of planMicroBatches(data)) {
    const { batch, sequences, offsets } = assembleSequences(examples, plan);
    const indices = plan.flat();
    const weigh = (scores: readonly number[]) => {
      const own = indices.map((index) => new Float32Array(data[index]!.targets.length));
      for (const [i, sequence] of sequences.entries()) own[sequence]![offsets[i]!] = scores[i]!;
      const slopes = indices.map((index, i) => {
        logProbs[index] = own[i]!;
        const tokens = { logProbs: own[i]!, inputs: data[index]!.inputs };
        const result = lossOf(tokens, parameters);
        loss += result.loss;
        return result.slopes;
      });
      // A token's loss is its negative log-probability.
      return Float32Array.from(sequences, (sequence, i) => -slopes[sequence]![offsets[i]!]!);
    };
    if (isForwardOnly) weigh(await model.score(batch));
    else await model.accumulate(batch, weigh);
  }
  return { logProbs, loss };
}

/** Groups sequences of similar lengths. */
function planMicroBatches(data: readonly TokenDatum[]) {
  const lengths = data.map(({ inputIds }) => inputIds.length);
  const fitting = Math.floor(BATCH_TOKENS / largest(lengths));
  return planValidation(lengths, Math.min(BATCH_SEQUENCES, Math.max(1, fitting)));
}

/** An example's labels are not shifted, so the sequence gets one more position, which is never read. */
function toExample({ inputIds, targets }: TokenDatum): Example {
  const ids = new Int32Array(inputIds.length + 1);
  ids.set(inputIds);
  const labels = new Int32Array(ids.length).fill(-1);
  labels.set(targets, 1);
  return { ids, labels, weights: undefined };
}
