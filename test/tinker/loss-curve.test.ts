import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LossCurve } from '../../src/tinker/loss-curve.ts';

const datum = (inputs: Record<string, number[]>) => ({
  inputIds: Int32Array.of(1, 2),
  targets: Int32Array.of(2, 3),
  inputs: Object.fromEntries(
    Object.entries(inputs).map(([name, values]) => [name, Float32Array.from(values)]),
  ),
});

test("a step's loss is the mean over the tokens that count in all its passes", () => {
  const curve = new LossCurve();
  curve.addPass({ data: [datum({ weights: [0, 1] }), datum({ weights: [-0.5, 1] })] }, 6);
  curve.addPass({ data: [datum({ logprobs: [0, -1], advantages: [0, 2] })] }, 2);
  curve.addStep();
  curve.addStep();
  curve.addPass({ data: [datum({ weights: [0, 0] })] }, 0);
  curve.addStep();
  const points = [[1, 2]];
  assert.deepEqual(curve.data, { steps: 3, points }, 'steps without tokens have no loss');
});

test('a long run keeps few points, of its whole course', () => {
  const curve = new LossCurve();
  for (let step = 1; step <= 10_000; step++) {
    curve.addPass({ data: [datum({ weights: [0, 1] })] }, step);
    curve.addStep();
  }
  const { steps, points } = curve.data;
  assert.equal(steps, 10_000);
  assert.ok(points.length > 256 && points.length <= 512, String(points.length));
  assert.ok(points.every(([step, loss], i) => loss <= step && step > (points[i - 1]?.[0] ?? 0)));
  assert.ok(points[0]![0] < 100 && points.at(-1)![0] > 9_900);
  assert.ok(points.at(-1)![1] > 9_800);
});
