// The loss of GRPO. The values were computed by torch with TRL's formulas: advantages, `dapo` with importance weights truncated at 3,
// and the derivative of the loss with respect to each token's log-probability.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advantagesOf, weighPolicy } from '../../trainer/policy.ts';

const near = (own: number, wanted: number, what: string) =>
  assert.ok(Math.abs(own - wanted) < 1e-6, `${what}: ${own}, ${wanted}`);

test('advantages are standardized rewards, and equal rewards have none', () => {
  const advantages = advantagesOf([1, 0, 0.5, 0.25]);
  for (const [i, wanted] of [1.317156599, -1.024455133, 0.146350733, -0.4390522].entries()) {
    near(advantages[i]!, wanted, `advantage ${i}`);
  }
  assert.deepEqual(advantagesOf([0.75, 0.75, 0.75]), [0, 0, 0]);
  assert.deepEqual(advantagesOf([0.3]), [0]);
});

test('the loss and its weights are those of TRL', () => {
  const [a, b, c, d] = advantagesOf([1, 0, 0.5, 0.25]) as [number, number, number, number];
  const { loss, weights, drift } = weighPolicy({
    logProbs: [-0.5, -1.25, -2, -0.1, -0.2, -3, -0.7, -1.1],
    sampled: [-0.6, -1.2, -2, -0.3, -0.2, -4.5, -0.69, -1.3],
    advantages: [a, a, b, c, c, c, d, d],
  });
  near(loss, -1.4773591463684719, 'loss');
  near(drift, 2.06, 'drift');
  const wanted = [
    1.455683168, 1.252918114, -1.024455133, 0.178753189, 0.146350733, 0.4390522, -0.434683557,
    -0.536259568,
  ];
  for (const [t, weight] of wanted.entries()) near(weights[t]!, weight, `token ${t}`);
});
