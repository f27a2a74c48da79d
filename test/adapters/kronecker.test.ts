// LoKr becomes LoRA of the rank of its Kronecker product, with the same change of each weight.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readHeader } from '../../adapters/peft/header.ts';
import { inspectAdapter } from '../../adapters/peft/inspect.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { adapterBytes, configBytes, filled, parseSample } from './sample.ts';

const R = 2;
const LAYER = 1;
const MODULE = `base_model.model.model.layers.${LAYER}.self_attn.q_proj`;
const LOKR = {
  ...{ peft_type: 'LOKR', lora_alpha: undefined, alpha: 3, r: R },
  ...{ target_modules: ['q_proj'], layers_to_transform: [LAYER] },
};

type Shapes = Readonly<Record<string, readonly number[]>>;

function factorsOf(shapes: Shapes): Map<string, Tensor> {
  const entries = Object.entries(shapes).map(([name, shape], k): [string, Tensor] => [
    `${MODULE}.lokr_${name}`,
    filled(shape, 'F32', (i) => Math.sin(5 * k + i)),
  ]);
  return new Map(entries);
}

/** W1 ⊗ W2 is [12, 8], as q_proj of the sample: by case, with the rank of the pair. */
const CASES: Readonly<Record<string, { readonly shapes: Shapes; readonly rank: number }>> = {
  'a whole first matrix': { shapes: { w1: [3, 2], w2_a: [4, R], w2_b: [R, 4] }, rank: 2 * R },
  'a whole wide first matrix': { shapes: { w1: [2, 4], w2_a: [6, R], w2_b: [R, 2] }, rank: 2 * R },
  'both as products': {
    shapes: { w1_a: [3, R], w1_b: [R, 2], w2_a: [4, R], w2_b: [R, 4] },
    rank: R * R,
  },
  'a whole second matrix': { shapes: { w1_a: [3, R], w1_b: [R, 2], w2: [4, 4] }, rank: R * 4 },
  'both whole': { shapes: { w1: [3, 2], w2: [4, 4] }, rank: 8 },
};

/** One of the two matrices, in the plainest way. */
function matrixOf(tensors: ReadonlyMap<string, Tensor>, name: string) {
  const get = (ending: string) => tensors.get(`${MODULE}.lokr_${name}${ending}`);
  const [whole, left, right] = [get(''), get('_a'), get('_b')];
  const [rows] = (whole ?? left)!.shape;
  const columns = (whole ?? right)!.shape[1]!;
  if (whole)
    return { rows, columns, at: (i: number, j: number) => toFloat32(whole)[i * columns + j]! };
  const [l, r] = [toFloat32(left!), toFloat32(right!)];
  const at = (i: number, j: number) => {
    let sum = 0;
    for (let k = 0; k < R; k++) sum += l[i * R + k]! * r[k * columns + j]!;
    return sum;
  };
  return { rows, columns, at };
}

for (const [what, { shapes, rank }] of Object.entries(CASES)) {
  test(`LoKr, ${what}: its pair changes each weight as the Kronecker product does`, async () => {
    const tensors = factorsOf(shapes);
    const { layers, byteSize } = await parseSample(LOKR, tensors);
    const pair = layers[LAYER]!.q_proj!;
    assert.equal(pair.rank, rank);
    const [w1, w2] = [matrixOf(tensors, 'w1'), matrixOf(tensors, 'w2')];
    for (let i = 0; i < 12; i++) {
      for (let j = 0; j < 8; j++) {
        let found = 0;
        for (let k = 0; k < rank; k++) found += pair.a[j * rank + k]! * pair.b[k * 12 + i]!;
        const { rows, columns } = w2;
        const outer = w1.at(Math.floor(i / rows!), Math.floor(j / columns));
        const wanted = (3 / R) * outer * w2.at(i % rows!, j % columns);
        assert.ok(Math.abs(found - wanted) < 1e-5, `weight ${i}, ${j}: ${found}, not ${wanted}`);
      }
    }
    const bytes = serializeSafetensors(tensors);
    const size = await readHeader(bytes.length, async (at, n) => bytes.subarray(at, at + n));
    assert.deepEqual([size.rank, size.byteSize], [rank, byteSize]);
  });
}

const WHOLE = CASES['a whole first matrix']!.shapes;
const MIXED = { w1_a: [3, 1], w1_b: [1, 2], w2_a: [4, R], w2_b: [R, 4] };
const SPREAD = { w1: [60_000, 1], w2: [60_000, 1] };
const REFUSED: [what: string, shapes: Shapes, param: string, message: RegExp][] = [
  ['no second matrix', { w1: [3, 2] }, 'w2', /is missing/],
  ['half of a matrix', { w1: [3, 2], w2_a: [4, R] }, 'w2_b', /is missing/],
  ['a matrix in both forms', { ...WHOLE, w2: [4, 4] }, 'w2', /cannot be combined with lokr_w2_a/],
  ['factors of two ranks', MIXED, 'w2_a', /shape \[4,2\] does not fit/],
  ['a factor of three dimensions', { ...WHOLE, w1: [3, 2, 1] }, 'w1', /shape \[3,2,1\]/],
  ['a rank that is too large', { w1: [30, 30], w2: [30, 30] }, 'w1', /rank 900; the limit is 512/],
  ['sides that take more memory than a file may have', SPREAD, 'w1', /MiB; the limit is 2048 MiB/],
];

async function assertFault(shapes: Shapes, config: object, fault: object): Promise<void> {
  const weights = serializeSafetensors(factorsOf(shapes));
  const bytes = adapterBytes(configBytes({ ...LOKR, ...config }), weights);
  await assert.rejects(inspectAdapter(bytes), fault);
}

for (const [what, shapes, factor, message] of REFUSED) {
  test(`LoKr with ${what} is refused by name`, () =>
    assertFault(shapes, {}, { param: `${MODULE}.lokr_${factor}`, message }));
}

for (const [what, config, message] of [
  ['another rank', { r: 1 }, /is 1 for .*q_proj, but its factors have rank 2/],
  ["LoHa's type", { peft_type: 'LOHA' }, /is LOHA, but .*q_proj has factors of LOKR/],
] as const) {
  test(`LoKr with ${what} in the configuration is refused by name`, () =>
    assertFault(WHOLE, config, { param: Object.keys(config)[0], message }));
}

test('LoKr whose sides are not those of the linear is refused by the tensor of its pair', async () => {
  const tensors = factorsOf({ w1: [3, 2], w2: [4, 5] });
  await assert.rejects(
    parseSample(LOKR, tensors),
    /lora_A.weight: shape \[8,10\], expected \[8,8\]/,
  );
});
