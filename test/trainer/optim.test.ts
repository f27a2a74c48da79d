// The optimizer, the clipping and the schedules against their formulas, written plainly.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  clipFactor,
  createAdamW,
  globalNorm,
  learningRateAt,
  type ScheduleName,
} from '../../trainer/optimizer.ts';
import type { Parameter } from '../../trainer/types.ts';
import { seededRandom } from '../fixtures.ts';

/** One weight under AdamW (Loshchilov and Hutter, algorithm 2), in float64. */
function plainAdamW(
  start: number,
  gradients: readonly number[],
  rates: readonly number[],
  decay: number,
): number {
  let [weight, m, v] = [start, 0, 0];
  for (const [i, gradient] of gradients.entries()) {
    const t = i + 1;
    m = 0.9 * m + 0.1 * gradient;
    v = 0.999 * v + 0.001 * gradient ** 2;
    const corrected = m / (1 - 0.9 ** t) / (Math.sqrt(v / (1 - 0.999 ** t)) + 1e-8);
    weight = weight - rates[i]! * decay * weight - rates[i]! * corrected;
  }
  return weight;
}

test('AdamW follows its formula; norms and biases do not decay', () => {
  const random = seededRandom(4);
  const count = 6;
  const parameter = (name: string, decays: boolean): Parameter => ({
    name,
    shape: [count],
    data: new Float32Array(count).map(() => random()),
    grad: new Float32Array(count),
    decays,
  });
  const parameters = [parameter('weight', true), parameter('norm', false)];
  const starts = parameters.map(({ data }) => [...data]);
  const optimizer = createAdamW(parameters, {
    betas: [0.9, 0.999],
    epsilon: 1e-8,
    weightDecay: 0.1,
  });
  const steps = 20;
  const history = parameters.map(() => Array.from({ length: count }, (): number[] => []));
  const rates = Array.from({ length: steps }, (_, i) => 0.01 * (i + 1));
  for (let step = 0; step < steps; step++) {
    for (const [p, { grad }] of parameters.entries()) {
      for (let i = 0; i < count; i++) {
        grad[i] = 4 * random();
        history[p]![i]!.push(grad[i]! / 4); // as scaled below
      }
    }
    optimizer.step(step + 1, rates[step]!, 0.25);
  }
  for (const [p, { data, decays }] of parameters.entries()) {
    for (let i = 0; i < count; i++) {
      const expected = plainAdamW(starts[p]![i]!, history[p]![i]!, rates, decays ? 0.1 : 0);
      assert.ok(Math.abs(data[i]! - expected) < 2e-6, `${data[i]} ${expected}`);
    }
  }
});

test('a vanished gradient moves nothing', () => {
  const data = Float32Array.of(1, 2);
  const parameter = { name: 'w', shape: [2], data, grad: new Float32Array(2), decays: false };
  const options = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 } as const;
  createAdamW([parameter], options).step(1, 0.1, 1);
  assert.deepEqual([...data], [1, 2]);
});

test('the norm is over all arrays together, and only a longer gradient is cut', () => {
  assert.equal(globalNorm([Float32Array.of(3, 0), Float32Array.of(4)]), 5);
  assert.equal(globalNorm([]), 0);
  assert.equal(clipFactor(0.5, 1), 1);
  assert.equal(clipFactor(1, 1), 1);
  assert.equal(clipFactor(4, 1), 1 / (4 + 1e-6));
});

test('rates follow the schedule: the first step of a warm-up is 0, the last step still moves', () => {
  const rates = (name: ScheduleName, warmupSteps: number, totalSteps: number) =>
    Array.from({ length: totalSteps }, (_, step) =>
      learningRateAt(step, { name, peak: 2, warmupSteps, totalSteps }),
    );
  assert.deepEqual(rates('linear', 2, 6), [0, 1, 2, 1.5, 1, 0.5]);
  assert.deepEqual(rates('constant', 0, 3), [2, 2, 2]);
  assert.deepEqual(rates('constant', 4, 3), [0, 0.5, 1]);
  const cosine = rates('cosine', 1, 5);
  const expected = [0, 2, 1 + Math.SQRT1_2, 1, 1 - Math.SQRT1_2];
  assert.ok(
    cosine.every((rate, i) => Math.abs(rate - expected[i]!) < 1e-12),
    String(cosine),
  );
});
