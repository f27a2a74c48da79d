// Each loss of tokens against its formula, written as in Tinker's documentation, and its slopes against finite differences.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  TOKEN_LOSS_NAMES,
  TOKEN_LOSS_SHAPES,
  type TokenLossName,
} from '../../src/contracts/training-service.ts';
import { TOKEN_LOSSES } from '../../trainer/token-losses.ts';

const LOG_PROBS = [-0.3, -1.2, -2.5, -0.7, -0.1];
const INPUTS = {
  weights: [1, 0, -2.5, 0.5, 3],
  logprobs: [-0.35, -2.2, -2.4, -0.1, -0.1],
  advantages: [1, 1, -2, -0.5, 0],
  sequence_ratio_mask: [0, 1, 1, 1, 1],
};
type Inputs = Record<string, readonly number[]>;
type Formula = (logProbs: readonly number[], inputs: Inputs) => number;

const sum = (logProbs: readonly number[], at: (t: number) => number) =>
  logProbs.reduce((total, _, t) => total + at(t), 0);
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const ratio = (p: readonly number[], { logprobs }: Inputs, t: number) =>
  Math.exp(p[t]! - logprobs![t]!);
const surrogate = (r: number, advantage: number) =>
  Math.min(r * advantage, clamp(r, 0.8, 1.2) * advantage);

/** `stopped`: the log-probabilities at which cispo's ratio is held fixed. */
const formulas = (stopped: readonly number[]): Record<TokenLossName, Formula> => ({
  cross_entropy: (p, { weights }) => -sum(p, (t) => p[t]! * weights![t]!),
  importance_sampling: (p, i) => -sum(p, (t) => ratio(p, i, t) * i['advantages']![t]!),
  ppo: (p, i) => -sum(p, (t) => surrogate(ratio(p, i, t), i['advantages']![t]!)),
  cispo: (p, i) => -sum(p, (t) => clamp(ratio(stopped, i, t), 0, 4) * p[t]! * i['advantages']![t]!),
  dro: (p, i) =>
    -sum(p, (t) => p[t]! * i['advantages']![t]! - (0.05 / 2) * (p[t]! - i['logprobs']![t]!) ** 2),
  gspo(p, i) {
    const mask = i['sequence_ratio_mask']!;
    const count = sum(mask, (t) => mask[t]!);
    const mean = sum(p, (t) => mask[t]! * (p[t]! - i['logprobs']![t]!)) / count;
    return -sum(p, (t) => (mask[t] ? surrogate(Math.exp(mean), i['advantages']![t]!) : 0));
  },
});

for (const name of TOKEN_LOSS_NAMES) {
  test(`${name} is its formula, and its slopes are the derivatives`, () => {
    const { parameters } = TOKEN_LOSS_SHAPES[name];
    const { loss, slopes } = TOKEN_LOSSES[name](
      { logProbs: LOG_PROBS, inputs: INPUTS },
      parameters,
    );
    const formula = formulas(LOG_PROBS)[name];
    assert.ok(Math.abs(loss - formula(LOG_PROBS, INPUTS)) < 1e-9);
    const step = 1e-5;
    for (const t of LOG_PROBS.keys()) {
      const moved = (by: number) => LOG_PROBS.map((p, i) => (i === t ? p + by : p));
      const rise = formula(moved(step), INPUTS) - formula(moved(-step), INPUTS);
      assert.ok(Math.abs(slopes[t]! - rise / (2 * step)) < 1e-5, `token ${t}`);
    }
  });
}

test('a parameter changes the loss, and an input of its name changes it for single tokens', () => {
  const { parameters } = TOKEN_LOSS_SHAPES.ppo;
  const inputs = { logprobs: [0, 0], advantages: [1, 1] };
  const logProbs = [Math.log(1.5), Math.log(1.5)];
  const lossOf = (given: object, more: Inputs = {}) =>
    TOKEN_LOSSES.ppo({ logProbs, inputs: { ...inputs, ...more } }, { ...parameters, ...given })
      .loss;
  assert.ok(Math.abs(lossOf({}) + 2.4) < 1e-9);
  assert.ok(Math.abs(lossOf({ clip_high_threshold: 2 }) + 3) < 1e-9);
  assert.ok(Math.abs(lossOf({}, { clip_high_threshold: [1.2, 2] }) + 2.7) < 1e-9);
});

test('gspo of a sequence without sampled tokens is zero', () => {
  const inputs = { logprobs: [0, 0], advantages: [1, 1], sequence_ratio_mask: [0, 0] };
  const { parameters } = TOKEN_LOSS_SHAPES.gspo;
  const { loss, slopes } = TOKEN_LOSSES.gspo({ logProbs: [-1, -1], inputs }, parameters);
  assert.deepEqual({ loss, slopes: [...slopes] }, { loss: 0, slopes: [0, 0] });
});
