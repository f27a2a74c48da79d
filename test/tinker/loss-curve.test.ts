import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LossCurve, lossCurveSchema, NO_STEPS } from '../../src/tinker/loss-curve.ts';

const datum = (inputs: Record<string, number[]>) => ({
  inputIds: Int32Array.of(1, 2),
  targets: Int32Array.of(2, 3),
  inputs: Object.fromEntries(
    Object.entries(inputs).map(([name, values]) => [name, Float32Array.from(values)]),
  ),
});

test("a step's loss is the mean over the tokens that count in all its passes", () => {
  const curve = new LossCurve();
  curve.addPass(1, { data: [datum({ weights: [0, 1] }), datum({ weights: [-0.5, 1] })] }, 6);
  curve.addPass(2, { data: [datum({ logprobs: [0, -1], advantages: [0, 2] })] }, 2);
  curve.addStep(3);
  curve.addStep(4);
  curve.addPass(5, { data: [datum({ weights: [0, 0] })] }, 0);
  curve.addStep(6);
  const points = [[1, 2]];
  const expected = { ...NO_STEPS, steps: 3, seq: 6, points };
  assert.deepEqual(curve.data, expected, 'steps without tokens have no loss');
});

test('requests that another trainer repeats count once, and a curve goes on from what is recorded', () => {
  const pass = { data: [datum({ weights: [0, 1] })] };
  const curve = new LossCurve({ ...NO_STEPS, steps: 1, seq: 2, points: [[1, 9]] });
  for (const seq of [1, 3, 3]) curve.addPass(seq, pass, 5);
  for (const seq of [2, 4, 4]) curve.addStep(seq);
  const points = [
    [1, 9],
    [2, 5],
  ];
  assert.deepEqual(curve.data, { ...NO_STEPS, steps: 2, seq: 4, points });
});

test('a curve that is recorded after any request continues as if nothing had happened', () => {
  const whole = new LossCurve();
  let recorded = new LossCurve();
  for (let step = 1; step <= 1500; step++) {
    const pass = { data: [datum({ weights: [step % 3, step > 1 ? 1 : 0] })] };
    for (const curve of [whole, recorded]) {
      if (step > 2) curve.addPass(3 * step, pass, step);
      if (step > 2) curve.addPass(3 * step + 1, pass, step % 7 === 0 ? Number.NaN : 1);
    }
    recorded = new LossCurve(lossCurveSchema.parse(JSON.parse(JSON.stringify(recorded.data))));
    for (const curve of [whole, recorded]) curve.addStep(3 * step + 2);
  }
  assert.deepEqual(recorded.data, whole.data);
});

test('a long run keeps few points, of its whole course', () => {
  const curve = new LossCurve();
  for (let step = 1; step <= 10_000; step++) {
    curve.addPass(2 * step, { data: [datum({ weights: [0, 1] })] }, step);
    curve.addStep(2 * step + 1);
  }
  const { steps, points } = curve.data;
  assert.equal(steps, 10_000);
  assert.ok(points.length > 256 && points.length <= 512, String(points.length));
  assert.ok(points.every(([step, loss], i) => loss <= step && step > (points[i - 1]?.[0] ?? 0)));
  assert.ok(points[0]![0] < 100 && points.at(-1)![0] > 9_900);
  assert.ok(points.at(-1)![1] > 9_800);
});
