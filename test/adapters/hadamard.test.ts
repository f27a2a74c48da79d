// LoHa becomes LoRA of rank r², with the same change of each weight.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readHeader } from '../../adapters/peft/header.ts';
import { inspectAdapter } from '../../adapters/peft/inspect.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { adapterBytes, configBytes, filled, json, MODEL, parseSample } from './sample.ts';

const RANK = 2;
const { hiddenSize } = MODEL;
const OUT = 12;
const MODULE = 'base_model.model.model.layers.1.self_attn.q_proj';
const LOHA = { peft_type: 'LOHA', lora_alpha: undefined, alpha: 3, target_modules: ['q_proj'] };
const SHAPES = {
  hada_w1_a: [OUT, RANK],
  hada_w1_b: [RANK, hiddenSize],
  hada_w2_a: [OUT, RANK],
  hada_w2_b: [RANK, hiddenSize],
};

function factors(): Map<string, Tensor> {
  const entries = Object.entries(SHAPES).map(([name, shape], k): [string, Tensor] => [
    `${MODULE}.${name}`,
    filled(shape, 'F32', (i) => Math.sin(5 * k + i)),
  ]);
  return new Map(entries);
}

/** W1 [out, in] = A B, in the plainest way. */
function product(a: Float32Array, b: Float32Array, i: number, j: number): number {
  let sum = 0;
  for (let k = 0; k < RANK; k++) sum += a[i * RANK + k]! * b[k * hiddenSize + j]!;
  return sum;
}

test('the pair of LoHa changes each weight as the elementwise product does', async () => {
  const { layers } = await parseSample({ ...LOHA, layers_to_transform: [1] }, factors());
  const { rank, a, b } = layers[1]!.q_proj!;
  assert.equal(rank, RANK * RANK);
  const [w1a, w1b, w2a, w2b] = [...factors().values()].map(toFloat32);
  for (let i = 0; i < OUT; i++) {
    for (let j = 0; j < hiddenSize; j++) {
      let found = 0;
      for (let k = 0; k < rank; k++) found += a[j * rank + k]! * b[k * OUT + i]!;
      const wanted = (3 / RANK) * product(w1a!, w1b!, i, j) * product(w2a!, w2b!, i, j);
      assert.ok(Math.abs(found - wanted) < 1e-5, `weight ${i}, ${j}: ${found}, not ${wanted}`);
    }
  }
});

test('the header of a LoHa file has the rank and the size of the pair', async () => {
  const bytes = serializeSafetensors(factors());
  const size = await readHeader(bytes.length, async (at, n) => bytes.subarray(at, at + n));
  assert.equal(size.rank, RANK * RANK);
  assert.deepEqual(size.targets, ['q_proj']);
  assert.equal(size.byteSize, 4 * RANK * RANK * (OUT + hiddenSize));
});

const changed = (name: keyof typeof SHAPES, shape?: readonly number[], value = 0) => {
  const all = factors();
  all.delete(`${MODULE}.${name}`);
  const tensor = shape && filled(shape, 'F32', () => value);
  return tensor ? all.set(`${MODULE}.${name}`, tensor) : all;
};
const wide = Math.ceil(Math.sqrt(513));
const wideFactors = new Map(
  Object.entries(SHAPES).map(([name, [rows, columns]]): [string, Tensor] => {
    const shape = name.endsWith('a') ? [rows!, wide] : [wide, columns!];
    return [`${MODULE}.${name}`, filled(shape, 'F32', () => 0.1)];
  }),
);

const LORA = { peft_type: 'LORA', lora_alpha: 3 };
const FACTOR = `${MODULE}.hada`;
for (const [what, changes, tensors, param, message] of [
  ['a missing factor', {}, changed('hada_w2_b'), `${FACTOR}_w2_b`, /is missing/],
  [
    'a factor of another rank',
    {},
    changed('hada_w2_a', [OUT, 1]),
    `${FACTOR}_w2_a`,
    /shape \[12,1\]/,
  ],
  [
    'a value NaN',
    {},
    changed('hada_w1_b', [RANK, hiddenSize], Number.NaN),
    `${FACTOR}_w1_b`,
    /NaN/,
  ],
  ['a rank that is too large', {}, wideFactors, `${FACTOR}_w1_a`, /needs rank 529/],
  ['another rank in the configuration', { r: 3 }, factors(), 'r', /is 3 for .*have rank 2/],
  ['a large alpha', { alpha: 1000 }, factors(), 'alpha', /results in a scaling of 500/],
  ["LoRA's configuration", LORA, factors(), 'peft_type', /is LORA, but .*has factors of LOHA/],
] as const) {
  test(`LoHa with ${what} is refused by name`, async () => {
    const config = json({ ...JSON.parse(Buffer.from(configBytes(LOHA)).toString()), ...changes });
    const bytes = adapterBytes(config, serializeSafetensors(tensors));
    await assert.rejects(inspectAdapter(bytes), { param, message });
  });
}
