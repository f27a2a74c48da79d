import assert from 'node:assert/strict';
import { test } from 'node:test';
import { composeAdapters } from '../../adapters/compose.ts';
import type { AdapterWeights, LoraPair } from '../../adapters/weights.ts';

/** Powers of two times small integers: sums and products are exact in float32. */
function pair(
  rank: number,
  { inSize, outSize, seed }: { inSize: number; outSize: number; seed: number },
): LoraPair {
  const fill = (length: number, by: number) =>
    Float32Array.from({ length }, (_, i) => (((i * 7 + seed * by) % 9) - 4) / 4);
  return { rank, a: fill(inSize * rank, 3), b: fill(rank * outSize, 5) };
}

function adapter(layers: AdapterWeights['layers']): AdapterWeights {
  const pairs = layers.flatMap((layer) => Object.values(layer));
  const targets = [...new Set(layers.flatMap((layer) => Object.keys(layer)))];
  return {
    digest: 'd',
    rank: Math.max(...pairs.map(({ rank }) => rank)),
    targets: targets as AdapterWeights['targets'],
    layers,
    byteSize: pairs.reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0),
  };
}

/** a b, [in, out]: the update's matrix, the plain way. */
function update({ rank, a, b }: LoraPair, inSize: number, outSize: number): number[] {
  const product = new Array<number>(inSize * outSize).fill(0);
  for (let i = 0; i < inSize; i++)
    for (let o = 0; o < outSize; o++)
      for (let r = 0; r < rank; r++)
        product[i * outSize + o]! += a[i * rank + r]! * b[r * outSize + o]!;
  return product;
}

const size = { inSize: 3, outSize: 5 };

test("a composition's update is the sum of its terms' weighted updates, exactly", async () => {
  const q1 = pair(2, { ...size, seed: 1 });
  const q2 = pair(3, { ...size, seed: 2 });
  const v2 = pair(1, { ...size, seed: 3 });
  const composed = await composeAdapters([
    { weights: adapter([{ q_proj: q1 }, {}]), weight: 1 },
    { weights: adapter([{ q_proj: q2, v_proj: v2 }, { v_proj: v2 }]), weight: 0.5 },
  ]);
  const plainOf = (p: LoraPair) => update(p, size.inSize, size.outSize);
  const sum = plainOf(q1).map((value, i) => value + 0.5 * plainOf(q2)[i]!);
  assert.deepEqual(plainOf(composed.layers[0]!.q_proj!), sum);
  const half = plainOf(v2).map((value) => 0.5 * value);
  assert.deepEqual(plainOf(composed.layers[0]!.v_proj!), half);
  assert.deepEqual(plainOf(composed.layers[1]!.v_proj!), half);
  assert.equal(composed.layers[1]!.q_proj, undefined);
  assert.equal(composed.rank, 5);
  assert.deepEqual([...composed.targets].sort(), ['q_proj', 'v_proj']);
  assert.equal(composed.byteSize, 4 * (5 * 8 + 1 * 8 + 1 * 8));
});

test('one adapter of weight 1 is itself', async () => {
  const weights = adapter([{ q_proj: pair(2, { ...size, seed: 1 }) }]);
  assert.equal(await composeAdapters([{ weights, weight: 1 }]), weights);
});
