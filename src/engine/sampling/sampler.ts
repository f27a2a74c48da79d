// Samples the next token of one sequence from its row of logits, and reports its log-probability. Knows no text and no
// tensors. The engine checks `isFiniteRow` first.
import { assert } from '../../common/assert.ts';
import type { SamplingParams, TokenLogprob } from '../../contracts/generation.ts';
import { type LogitsRow, scoreToken } from '../logits.ts';
import { chooseToken, probabilities } from './choose.ts';
import { Constraints } from './constraints.ts';
import { Penalties } from './penalties.ts';
import { createRandom } from './random.ts';

/** A token that was sampled. */
export interface SampledToken {
  id: number;
  /** Set if the request asked for logprobs. */
  logprob?: TokenLogprob;
}

/** Samples the tokens of one sequence. It owns the sequence's token counts and random state. */
export interface Sampler {
  /**
   * Samples the next token from a finite row, and counts it as generated. Returns undefined if the constraints of the
   * request allow no token.
   */
  sample(row: LogitsRow): SampledToken | undefined;
}

/** The prompt tokens that count for penalties, and the vocabulary. */
export interface SamplerContext {
  promptIds: readonly number[];
  vocabSize: number;
}

/** Creates the sampler of a sequence. */
export function createSampler(params: SamplingParams, context: SamplerContext): Sampler {
  const penalties = new Penalties(params, context.promptIds);
  const constraints = new Constraints(params);
  const random = createRandom(params.seed);
  return {
    sample(row) {
      assert(row.logits.length === context.vocabSize, 'the row is as wide as the vocabulary');
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

/** The probabilities [V] of the token after `generatedIds`. All are 0 if the constraints allow no token. */
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
