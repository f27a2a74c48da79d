// A linear in per-token form gets as many float inputs as it takes to be precise.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantizeRowLinear } from '../../src/quant/row-linear.ts';
import { seededRandom } from '../fixtures.ts';

const INPUTS = 64;
const OUTPUTS = 40;

/** Quantizes a random linear. Its first `tails` inputs have tiny weights, and are larger than the calibration says. */
function quantized(tails: number, groups: number) {
  const random = seededRandom(5);
  const matrices = [24, 16].map((outputs) =>
    Float32Array.from({ length: outputs * INPUTS }, (_, i) => {
      return random() * (i % INPUTS < tails ? 1e-5 : 1);
    }),
  );
  const samples = Array.from({ length: 4 }, () =>
    Float32Array.from({ length: INPUTS }, (_, i) => random() * (i < tails ? 1e5 : 1)),
  );
  const maxima = new Float32Array(INPUTS).fill(1);
  const read = () => matrices.map((matrix) => matrix.slice());
  return quantizeRowLinear(read, { maxima, samples }, { floats: 4, groups, packing: 'plain' });
}

for (const groups of [1, 4]) {
  test(`usual inputs are rounded, and none if that is not precise: ${groups} groups`, () => {
    const usual = quantized(0, groups);
    assert.equal(usual.floatInputs.length, 4);
    assert.equal(usual.data.length, INPUTS * OUTPUTS);
    assert.equal(quantized(8, groups).floatInputs.length, INPUTS);
  });
}
