// Draws the next token of one sequence from its row of logits (logits.ts), and reports its
// log-probability. Knows no text and no tensors; the engine checks `isFiniteRow` before it asks.
import { assert } from '../common/assert.ts';
import type { SamplingParams, TokenLogprob } from '../contracts/generation.ts';
import { type LogitsRow, scoreToken } from './logits.ts';
import { chooseToken, probabilities } from './sampling/choose.ts';
import { Constraints } from './sampling/constraints.ts';
import { Penalties } from './sampling/penalties.ts';
import { createRandom } from './sampling/random.ts';

export interface SampledToken {
  id: number;
  /** Where the request asked for logprobs. */
  logprob?: TokenLogprob;
}

/** One sequence's way of drawing: owns its counts and its random state. */
export interface Sampler {
  /**
   * Called once for each generated token, in order; the token counts as generated. The row is finite.
   * Undefined if the request's constraints leave no token.
   */
  sample(row: LogitsRow): SampledToken | undefined;
}

export interface SamplerContext {
  promptIds: readonly number[];
  vocabSize: number;
}

export function createSampler(params: SamplingParams, context: SamplerContext): Sampler {
  const penalties = new Penalties(params, context.promptIds);
  const constraints = new Constraints(params);
  const random = createRandom(params.seed);
  return {
    sample(row) {
      assert(row.logits.length === context.vocabSize, 'the row is not as wide as the vocabulary');
      penalties.forbid(constraints.forbidden());
      const id = chooseToken({ row: constraints.mask(row), params, penalties }, random);
      if (id === undefined) return undefined;
      penalties.record(id);
      constraints.record(id);
      if (params.topLogprobs === undefined) return { id };
      return { id, logprob: scoreToken(row, id, params.topLogprobs) };
    },
  };
}

/** The probabilities [V], all 0 if the constraints leave no token, from which the token after `generatedIds` is drawn. */
export function distribution(
  row: LogitsRow,
  params: SamplingParams,
  context: { promptIds: readonly number[]; generatedIds: readonly number[] },
): Float64Array {
  const penalties = new Penalties(params, context.promptIds);
  const constraints = new Constraints(params);
  for (const id of context.generatedIds) {
    penalties.record(id);
    constraints.record(id);
  }
  penalties.forbid(constraints.forbidden());
  return probabilities({ row: constraints.mask(row), params, penalties });
}
