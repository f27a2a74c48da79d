// Draws the next token of one sequence from its row of logits (logits.ts), and reports its
// log-probability. Knows no text and no tensors; the engine checks `isFiniteRow` before it asks.
import { assert } from '../assert.ts';
import type { SamplingParams, TokenLogprob } from '../generation.ts';
import { type LogitsRow, scoreToken } from './logits.ts';
import { chooseToken, probabilities } from './sampling/choose.ts';
import { Penalties } from './sampling/penalties.ts';
import { createRandom } from './sampling/random.ts';

export interface SampledToken {
  id: number;
  /** Where the request asked for logprobs. */
  logprob?: TokenLogprob;
}

/** One sequence's way of drawing: owns its counts and its random state. */
export interface Sampler {
  /** Called once for each generated token, in order; the token counts as generated. The row is finite. */
  sample(row: LogitsRow): SampledToken;
}

export interface SamplerContext {
  promptIds: readonly number[];
  vocabSize: number;
}

export function createSampler(params: SamplingParams, context: SamplerContext): Sampler {
  const penalties = new Penalties(params, context.promptIds);
  const random = createRandom(params.seed);
  return {
    sample(row) {
      assert(row.logits.length === context.vocabSize, 'the row is not as wide as the vocabulary');
      const id = chooseToken({ row, params, penalties }, random);
      penalties.record(id);
      if (params.topLogprobs === undefined) return { id };
      return { id, logprob: scoreToken(row, id, params.topLogprobs) };
    },
  };
}

/** The probabilities [V] from which the token after `generatedIds` is drawn. */
export function distribution(
  row: LogitsRow,
  params: SamplingParams,
  context: { promptIds: readonly number[]; generatedIds: readonly number[] },
): Float64Array {
  const penalties = new Penalties(params, context.promptIds);
  for (const id of context.generatedIds) penalties.record(id);
  return probabilities({ row, params, penalties });
}
