// Draws under a mask: from the largest logits of the row where they decide, and the same from the whole row.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GREEDY, type SamplingParams } from '../../src/contracts/generation.ts';
import { type LogitsRow, selectTop } from '../../src/engine/logits.ts';
import type { TokenMatcher } from '../../src/engine/sampling/constraints.ts';
import { isFiltered } from '../../src/engine/sampling/filters.ts';
import { createSampler } from '../../src/engine/sampling/sampler.ts';
import { TOP_LOGITS_COUNT } from '../../src/model/top-logits.ts';

const VOCAB_SIZE = 300;
const STOP = 299;

/** Always allows the same tokens. */
function matcherOf(ids: readonly number[], { canEnd = false } = {}): TokenMatcher {
  const allowed = new Uint32Array(Math.ceil(VOCAB_SIZE / 32));
  for (const id of ids) allowed[id >> 5]! |= 1 << (id & 31);
  return {
    allowed: () => allowed,
    setBudget() {},
    prepare: () => true,
    forced: () => ({ ids: [], isEnd: false }),
    accept() {},
    canEnd,
    isComplete: false,
  };
}

function withTop(logits: Float32Array): LogitsRow {
  const logSumExp = Math.fround(Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)));
  return { logits, top: { ...selectTop(logits), logSumExp } };
}

/** The plain twin: a row without the forbidden tokens, drawn from as a whole. */
function withoutOthers(logits: Float32Array, ids: ReadonlySet<number>): LogitsRow {
  return { logits: logits.map((logit, id) => (ids.has(id) ? logit : Number.NEGATIVE_INFINITY)) };
}

const params = fc.record({
  temperature: fc.constantFrom(0, 0.5, 1, 1.5),
  topK: fc.constantFrom(0, 5, 100),
  topP: fc.constantFrom(0.3, 0.9, 1),
  minP: fc.constantFrom(0, 0.1),
  repetitionPenalty: fc.constantFrom(1, 1.3),
  presencePenalty: fc.constantFrom(0, 0.7),
  frequencyPenalty: fc.constantFrom(0, 0.7),
  logitBias: fc.constantFrom(
    new Map(),
    new Map([
      [3, 5],
      [250, -100],
    ]),
  ),
  seed: fc.nat(),
});
const rows = fc
  .array(fc.integer({ min: -400, max: 400 }), { minLength: VOCAB_SIZE, maxLength: VOCAB_SIZE })
  .map((values) => Float32Array.from(values, (value) => value / 50));
const sizes = fc.constantFrom(1, 5, 63, 64, 65, 120, VOCAB_SIZE - 1);
const allowedIds = fc.tuple(fc.nat(), sizes).map(([start, size]) => {
  return Array.from({ length: size }, (_, i) => (start + i * 7) % (VOCAB_SIZE - 1));
});

test('a masked row gives the token of a row that never had the others', () => {
  fc.assert(
    fc.property(
      params,
      allowedIds,
      fc.boolean(),
      fc.array(rows, { maxLength: 6 }),
      (given, ids, canEnd, drawn) => {
        const sampling = given as SamplingParams;
        const context = { promptIds: [1, 2, 3], stopTokenIds: [STOP] };
        const masked = createSampler(sampling, context);
        masked.follow(matcherOf(ids, { canEnd }));
        const plain = createSampler(sampling, context);
        const usable = new Set([...ids, ...(canEnd ? [STOP] : [])]);
        // Without filters a draw goes through the largest tokens by rank, then through the others by id. Both rows have the same
        // largest tokens only if these are all.
        const isSameOrder =
          sampling.temperature === 0 ||
          isFiltered(sampling, VOCAB_SIZE) ||
          usable.size <= TOP_LOGITS_COUNT;
        for (const logits of drawn) {
          const token = masked.sample(withTop(logits));
          const expected = plain.sample(withoutOthers(logits, usable));
          if (isSameOrder) assert.deepEqual(token, expected);
          assert.ok(usable.has(token!.id));
        }
      },
    ),
  );
});

test('a mask and allowed_token_ids apply together', () => {
  const sampling = { ...GREEDY, allowedTokenIds: [4, 5, 6] };
  const sampler = createSampler(sampling, { promptIds: [] });
  sampler.follow(matcherOf([1, 5, 9]));
  const logits = Float32Array.from({ length: VOCAB_SIZE }, (_, id) => -id);
  assert.equal(sampler.sample(withTop(logits))!.id, 5);
});

test('log-probabilities are those of the row before the mask', () => {
  const logits = Float32Array.from({ length: VOCAB_SIZE }, (_, id) => (id === 7 ? 5 : 0));
  const sampler = createSampler({ ...GREEDY, topLogprobs: 1 }, { promptIds: [] });
  sampler.follow(matcherOf([3]));
  const { id, logprob } = sampler.sample(withTop(logits))!;
  const total = Math.log(Math.exp(5) + VOCAB_SIZE - 1);
  assert.equal(id, 3);
  assert.ok(Math.abs(logprob!.logprob + total) < 1e-4);
  assert.equal(logprob!.top[0]!.id, 7);
});

test('the end is forbidden until the text may end, and nothing allowed is no token', () => {
  const logits = new Float32Array(VOCAB_SIZE);
  logits[STOP] = 9;
  const draw = (matcher: TokenMatcher) => {
    const context = { promptIds: [], stopTokenIds: [STOP] };
    const sampler = createSampler(GREEDY, context);
    sampler.follow(matcher);
    return sampler.sample(withTop(logits))?.id;
  };
  assert.equal(draw(matcherOf([2])), 2);
  assert.equal(draw(matcherOf([2], { canEnd: true })), STOP);
  assert.equal(draw(matcherOf([])), undefined);
});
