import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { GREEDY, type SamplingParams } from '../../src/contracts/generation.ts';
import { type LogitsRow, selectTop } from '../../src/engine/logits.ts';
import { createSampler, distribution } from '../../src/engine/sampling/sampler.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { vocabularyOf } from '../grammar/written.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { naiveDistribution } from './naive-sampling.ts';

const NEUTRAL: SamplingParams = { ...GREEDY, temperature: 1 };

/** The row as a graph returns it: with the 64 largest logits and a float32 log-sum-exp. */
function narrowed(logits: Float32Array): LogitsRow {
  const max = Math.max(...logits);
  let sum = 0;
  for (const logit of logits) sum = Math.fround(sum + Math.fround(Math.exp(logit - max)));
  return { logits, top: { ...selectTop(logits), logSumExp: Math.fround(max + Math.log(sum)) } };
}

/** Logits like those of a model: a few large ones, a long tail, and ties, because all are multiples of 1/8. */
const someRow = fc
  .record({
    size: fc.constantFrom(5, 64, 65, 200, 1500),
    seed: fc.integer(),
    spread: fc.constantFrom(0.1, 1, 3, 10),
    step: fc.constantFrom(0, 0.125, 2),
  })
  .map(({ size, seed, spread, step }) => {
    let state = seed | 1;
    return Float32Array.from({ length: size }, () => {
      state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
      const uniform = ((state >>> 0) + 1) / 2 ** 32;
      const value = -spread * Math.log(uniform);
      return step ? Math.round(value / step) * step : value;
    });
  });

const someParams: fc.Arbitrary<SamplingParams> = fc.record({
  temperature: fc.constantFrom(0, 1e-320, 0.01, 0.3, 0.7, 1, 1, 1.3, 2),
  topK: fc.constantFrom(0, 0, 1, 5, 64, 65, 300, 100_000),
  topP: fc.constantFrom(1, 1, 0.0001, 0.3, 0.9, 0.999),
  minP: fc.constantFrom(0, 0, 0.001, 0.1, 1),
  repetitionPenalty: fc.constantFrom(1, 1, 0.5, 1.3),
  presencePenalty: fc.constantFrom(0, 0, -2, 1.5),
  frequencyPenalty: fc.constantFrom(0, 0, -2, 0.5),
  logitBias: fc
    .array(fc.tuple(fc.nat(4), fc.constantFrom(-100, -1, 0, 3, 100)))
    .map((pairs) => new Map(pairs)),
  seed: fc.nat(),
});

/** Constraints on the first tokens, which are few, so that they are often forbidden. [3, 1, 3] has been generated. */
const someConstraints: fc.Arbitrary<Partial<SamplingParams>> = fc.record(
  {
    allowedTokenIds: fc.oneof(
      fc.array(fc.nat(4), { minLength: 1, maxLength: 5 }),
      fc
        .constantFrom(5, 64, 65, 200)
        .map((size) => Array.from({ length: size }, (_, id) => id % 5)),
      fc.constantFrom(
        ...[5, 40].map((size) => Array.from({ length: size }, (_, id) => (id * 3) % 5)),
      ),
    ),
    minTokens: fc.record({
      count: fc.constantFrom(1, 3, 4, 8),
      endings: fc.array(fc.nat(4), { maxLength: 3 }),
    }),
  },
  { requiredKeys: [] },
);

const goldenPath = sharedPath('golden', 'sampling', 'cases.json');

test('the distribution equals every golden case', { skip: skipUnless(goldenPath) }, () => {
  const golden = JSON.parse(readFileSync(goldenPath!, 'utf8'));
  for (const { row, params, probs } of golden.cases) {
    const logits = Float32Array.from(golden.logits[row] as number[]);
    const actual = distribution({ logits }, fromGolden(params), {
      promptIds: golden.prompt,
      generatedIds: golden.generated,
    });
    for (const [id, expected] of probs.entries()) {
      assert.ok(Math.abs(actual[id]! - expected) < 1e-6, `row ${row} ${JSON.stringify(params)}`);
    }
  }
});

test('a row with its top logits gives the same tokens as without', () => {
  fc.assert(
    fc.property(someRow, someParams, someConstraints, (logits, free, constraints) => {
      const params = { ...free, ...constraints };
      const context = { promptIds: [0, 1, 2, 2] };
      const whole = createSampler(params, context);
      const fast = createSampler(params, context);
      const row = narrowed(logits);
      for (let i = 0; i < 12; i++) {
        assert.deepEqual(fast.sample(row), whole.sample({ logits }));
      }
    }),
    { numRuns: 400 },
  );
});

test('the distribution equals a full sort of the vocabulary, with or without top logits', () => {
  fc.assert(
    fc.property(someRow, someParams, someConstraints, (logits, free, constraints) => {
      const params = { ...free, ...constraints };
      const context = { promptIds: [0, 1, 2, 2], generatedIds: [3, 1, 3] };
      const expected = naiveDistribution(logits, params, context);
      for (const row of [{ logits }, narrowed(logits)]) {
        const actual = distribution(row, params, context);
        for (const [id, prob] of expected.entries()) {
          assert.ok(Math.abs(actual[id]! - prob) < 1e-9, `token ${id}`);
        }
      }
    }),
    { numRuns: 400 },
  );
});

test('tokens are drawn with the frequencies of the distribution', () => {
  const logits = Float32Array.from({ length: 300 }, (_, id) => -((id * 7) % 300) / 40);
  for (const params of [NEUTRAL, { ...NEUTRAL, temperature: 1.6, topP: 0.8 }]) {
    const sampler = createSampler({ ...params, seed: 7 }, { promptIds: [] });
    const row = narrowed(logits);
    const counts = new Float64Array(300);
    const draws = 20_000;
    for (let i = 0; i < draws; i++) counts[sampler.sample(row)!.id]!++;
    const probs = distribution(row, params, { promptIds: [], generatedIds: [] });
    for (const [id, prob] of probs.entries()) {
      const deviation = Math.sqrt(draws * prob * (1 - prob));
      assert.ok(Math.abs(counts[id]! - draws * prob) <= 5 * deviation, `token ${id}`);
    }
  }
});

test('greedy takes the first of several largest logits', () => {
  const logits = Float32Array.from([1, 5, 2, 5, 5]);
  const sampler = createSampler(GREEDY, { promptIds: [] });
  assert.equal(sampler.sample({ logits })!.id, 1);
  assert.equal(sampler.sample(narrowed(logits))!.id, 1);
});

test('the same seed draws the same tokens, another seed and no seed draw others', () => {
  const row = narrowed(new Float32Array(1000));
  const draw = (seed?: number) => {
    const params = seed === undefined ? NEUTRAL : { ...NEUTRAL, seed };
    const sampler = createSampler(params, { promptIds: [] });
    return Array.from({ length: 20 }, () => sampler.sample(row)!.id);
  };
  assert.deepEqual(draw(42), draw(42));
  assert.notDeepEqual(draw(42), draw(43));
  assert.notDeepEqual(draw(42), draw(42 + 2 ** 32));
  assert.notDeepEqual(draw(), draw());
});

test('frequency penalty counts generated tokens only, repetition penalty the prompt too', () => {
  const logits = Float32Array.from([2, 1.9, 1.8]);
  const draw = (params: Partial<SamplingParams>, promptIds: number[]) => {
    const sampler = createSampler({ ...GREEDY, ...params }, { promptIds });
    return [1, 2, 3].map(() => sampler.sample({ logits })!.id);
  };
  assert.deepEqual(draw({ frequencyPenalty: 1 }, [0, 0]), [0, 1, 2]);
  assert.deepEqual(draw({ repetitionPenalty: 2 }, [0]), [1, 2, 0]);
});

function fromGolden(params: Record<string, number> & { logit_bias?: Record<string, number> }) {
  const bias = Object.entries(params.logit_bias ?? {});
  return {
    temperature: params['temperature'] ?? 1,
    topK: params['top_k'] ?? 0,
    topP: params['top_p'] ?? 1,
    minP: params['min_p'] ?? 0,
    repetitionPenalty: params['repetition_penalty'] ?? 1,
    presencePenalty: params['presence_penalty'] ?? 0,
    frequencyPenalty: params['frequency_penalty'] ?? 0,
    logitBias: new Map(bias.map(([id, value]) => [Number(id), value])),
  };
}

describe('constraints', () => {
  const draw = (params: Partial<SamplingParams>, logits: number[], count = 4) => {
    const options = { promptIds: [0, 1] };
    const sampler = createSampler({ ...GREEDY, ...params }, options);
    const row = narrowed(Float32Array.from(logits));
    return Array.from({ length: count }, () => sampler.sample(row)?.id);
  };

  test('min_tokens forbids the endings until so many tokens are generated', () => {
    const minTokens = { count: 2, endings: [3, 2] };
    assert.deepEqual(draw({ minTokens }, [0, 1, 2, 3]), [1, 1, 3, 3]);
  });

  test('a token that completes a banned word is not drawn, whatever its bias', () => {
    const tokenizer = vocabularyOf([' ', 'a', 'b', ' a'], { withBytes: false });
    const grammars = new Grammars(tokenizer, 4);
    const drawn = (words: string[], logits: number[], params: Partial<SamplingParams> = {}) => {
      const sampler = createSampler({ ...GREEDY, ...params }, { promptIds: [] });
      sampler.ban(grammars.createBan(words));
      const row = narrowed(Float32Array.from(logits));
      return [1, 2, 3, 4].map(() => sampler.sample(row)?.id);
    };
    assert.deepEqual(drawn(['a'], [0, 1, 2, 3]), [2, 2, 2, 2]);
    assert.deepEqual(drawn(['a'], [0, 1, 2, 3], { logitBias: new Map([[3, 100]]) }), [2, 2, 2, 2]);
    assert.deepEqual(drawn(['aa', 'ba'], [0, 3, 2, 1]), [1, 2, 1, 1]);
    const only = { allowedTokenIds: [1], minTokens: { count: 2, endings: [0] } };
    assert.deepEqual(drawn(['aa'], [0, 1, 2, 3], only), [1, undefined, undefined, undefined]);
  });

  test('allowed tokens may be far outside the largest logits', () => {
    const logits = Array.from({ length: 1000 }, (_, id) => -id);
    assert.deepEqual(draw({ allowedTokenIds: [999, 998] }, logits, 2), [998, 998]);
  });

  test('if no token is allowed, none is drawn', () => {
    const hot = { allowedTokenIds: [1], minTokens: { count: 1, endings: [1] }, temperature: 1 };
    assert.deepEqual(draw(hot, [0, 1, 2], 1), [undefined]);
  });

  test('logprobs are those of the model, before constraints', () => {
    const params = { ...GREEDY, allowedTokenIds: [0], topLogprobs: 1 };
    const sampler = createSampler(params, { promptIds: [] });
    const { logprob } = sampler.sample({ logits: Float32Array.from([0, Math.log(3)]) })!;
    assert.ok(Math.abs(logprob!.logprob - Math.log(0.25)) < 1e-6);
    assert.equal(logprob!.top[0]!.id, 1);
  });
});
