// The updates of adapters, rounded to 8 bits by our own library, against plain code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownInstructions, roundUpdates } from '../../src/ort/own-operators.ts';
import { seededRandom } from '../fixtures.ts';
import { plainCodes } from './plain-codes.ts';

const skip = ownInstructions() === undefined && 'our own operators cannot run here';

const random = seededRandom(3);
const values = (length: number) => Float32Array.from({ length }, random);
const pairOf = (rank: number, inFeatures = 48, outFeatures = 80) => {
  return { rank, a: values(inFeatures * rank), b: values(rank * outFeatures) };
};
const operandsOf = ({ rank, a, b }: ReturnType<typeof pairOf>, ranks: number) => ({
  codesA: new Int8Array(a.length),
  scales: new Float32Array(rank),
  codesB: new Int8Array((b.length / rank) * ranks),
});

for (const [rank, ranks] of [
  [1, 4],
  [5, 8],
  [16, 16],
  [40, 64],
] as const) {
  test(`rank ${rank} of ${ranks} is rounded as by plain code, at once and operand by operand`, {
    skip,
  }, () => {
    const pair = pairOf(rank);
    pair.b.fill(0, 0, 80); // changes nothing
    pair.a[rank > 1 ? 1 : 0] = 0.5;
    const wanted = plainCodes(pair, ranks);
    const together = operandsOf(pair, ranks);
    const apart = operandsOf(pair, ranks);
    roundUpdates([
      { pair, ranks, ...together },
      ...Object.entries(apart).map(([name, into]) => ({ pair, ranks, [name]: into })),
    ]);
    for (const operands of [together, apart])
      for (const name of ['codesA', 'scales', 'codesB'] as const)
        assert.deepEqual([...operands[name]], wanted[name], name);
    assert.equal(together.scales[0], 0);
  });
}

test('the smallest numbers become codes of zero, and what is not finite a scale that is not', {
  skip,
}, () => {
  const pair = pairOf(4);
  for (let i = 0; i < pair.a.length; i += 4) {
    pair.a[i] = 1e-45;
    pair.a[i + 1] = i === 8 ? Number.NaN : 1;
    pair.a[i + 2] = i === 8 ? Number.NEGATIVE_INFINITY : 1;
  }
  const operands = operandsOf(pair, 4);
  roundUpdates([{ pair, ranks: 4, ...operands }]);
  assert.ok(operands.codesA.subarray(0, 48).every((code) => code === 0));
  assert.deepEqual([...operands.scales].map(Number.isFinite), [true, false, false, true]);
});
