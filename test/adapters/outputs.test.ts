// Adapters that change the outputs of linears by more than an update: DoRA and biases.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdaptedBase } from '../../adapters/peft/outputs.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { outputVector } from '../../src/model/adapter-vectors.ts';
import { biasName, weightName } from '../../src/model/names.ts';
import { tinyModel } from '../fixtures.ts';
import { adapterBytes, configBytes, filled } from './sample.ts';

const { config: MODEL, artifact, weights } = tinyModel({ model_type: 'qwen2' });
const BASE = adaptedBaseOf(artifact);
const PREFIX = 'base_model.model.model.layers.';
const Q = `${PREFIX}0.self_attn.q_proj`;
const OUT = 64;

const wave = (i: number) => Math.sin(i) / 4;
const lora = (module: string, rows = OUT): [string, Tensor][] => [
  [`${module}.lora_A.weight`, filled([2, 64], 'F32', wave)],
  [`${module}.lora_B.weight`, filled([rows, 2], 'F32', wave)],
];
const vector = (name: string, value: (i: number) => number, length = OUT): [string, Tensor] => [
  name,
  filled([length], 'F32', value),
];

const parse = (
  changes: Record<string, unknown>,
  tensors: readonly [string, Tensor][],
  base: AdaptedBase | null = BASE,
) =>
  parseAdapter(
    adapterBytes(
      configBytes({ target_modules: ['q_proj'], layers_to_transform: [0], ...changes }),
      serializeSafetensors(new Map(tensors)),
    ),
    MODEL,
    base ?? undefined,
  );

const MAGNITUDE = `${Q}.lora_magnitude_vector`;
const dora = [...lora(Q), vector(MAGNITUDE, (i) => 1 + i / 64)];

test("DoRA's factors are the magnitudes over the norms of the adapted rows", async () => {
  const parsed = await parse({ use_dora: true }, dora);
  const plain = await parse({}, lora(Q));
  const scale = parsed.vectors.get(outputVector('scale', 0, 'q_proj'))!;
  const bias = parsed.vectors.get(outputVector('bias', 0, 'q_proj'))!;
  const { a, b } = plain.layers[0]!.q_proj!;
  const w = weights(weightName(0, 'q_proj'));
  const own = weights(biasName(0, 'q_proj'));
  for (let o = 0; o < OUT; o++) {
    let squares = 0;
    for (let i = 0; i < 64; i++) {
      const update = a[2 * i]! * b[o]! + a[2 * i + 1]! * b[OUT + o]!;
      squares += (w[o * 64 + i]! + update) ** 2;
    }
    const factor = (1 + o / 64) / Math.sqrt(squares);
    assert.ok(Math.abs(scale[o]! - (factor - 1)) < 1e-5, `output ${o}`);
    assert.ok(Math.abs(bias[o]! + (factor - 1) * own[o]!) < 1e-5, `the bias of output ${o}`);
    for (const r of [0, OUT]) {
      const scaled = parsed.layers[0]!.q_proj!.b[r + o]!;
      assert.ok(Math.abs(scaled - factor * b[r + o]!) < 1e-5, `B of output ${o}`);
    }
  }
  assert.deepEqual(parsed.parts, ['outputs']);
});

test('biases of B are scaled, biases of the base are replaced', async () => {
  const bias = (i: number) => i / 10;
  const scaled = await parse({ lora_bias: true }, [...lora(Q), vector(`${Q}.lora_B.bias`, bias)]);
  assert.deepEqual(
    scaled.vectors.get(outputVector('bias', 0, 'q_proj')),
    Float32Array.from({ length: OUT }, (_, i) => Math.fround(2 * Math.fround(bias(i)))),
  );
  const others = [0, 1].flatMap((layer) => [
    vector(`${PREFIX}${layer}.self_attn.k_proj.bias`, bias, 32),
    vector(`${PREFIX}${layer}.self_attn.v_proj.bias`, bias, 32),
  ]);
  const adapted = vector(`${Q}.base_layer.bias`, bias);
  const last = vector(`${PREFIX}1.self_attn.q_proj.bias`, bias);
  const all = await parse({ bias: 'all' }, [...lora(Q), ...others, adapted, last]);
  const own = weights(biasName(1, 'k_proj'));
  all.vectors.get(outputVector('bias', 1, 'k_proj'))!.forEach((value, i) => {
    assert.equal(value, Math.fround(Math.fround(bias(i)) - own[i]!));
  });
  assert.equal(all.vectors.size, 6);
  const only = await parse({ bias: 'lora_only' }, [...lora(Q), adapted]);
  assert.equal(only.vectors.size, 1);
  assert.equal((await parse({ bias: 'lora_only' }, lora(Q))).vectors.size, 0);
});

const NAN = () => Number.NaN;
const B_BIAS = `${Q}.lora_B.bias`;
const BASE_BIAS = `${Q}.base_layer.bias`;
const K_BIAS = `${PREFIX}0.self_attn.k_proj.bias`;
const UP_BIAS = `${PREFIX}0.mlp.up_proj.bias`;
const IS_DORA = { use_dora: true };
/** Configuration, what comes with the pair of matrices, and what is named. */
for (const [what, changes, others, param, code = 'adapter_invalid'] of [
  ['no magnitudes', IS_DORA, [], MAGNITUDE],
  ['magnitudes of another length', IS_DORA, [vector(MAGNITUDE, wave, 63)], MAGNITUDE],
  ['magnitudes without DoRA', {}, dora, MAGNITUDE],
  ['a magnitude NaN', IS_DORA, [vector(MAGNITUDE, NAN)], MAGNITUDE, 'adapter_non_finite'],
  ['a magnitude 1e9', IS_DORA, [vector(MAGNITUDE, () => 1e9)], MAGNITUDE, 'adapter_non_finite'],
  ['no bias of B', { lora_bias: true }, [], B_BIAS],
  ['a bias of B NaN', { lora_bias: true }, [vector(B_BIAS, NAN)], B_BIAS, 'adapter_non_finite'],
  ['DoRA with biases of B', { lora_bias: true, ...IS_DORA }, dora, 'lora_bias'],
  ['no biases', { bias: 'all' }, [], BASE_BIAS],
  ['a bias that is not asked for', {}, [vector(BASE_BIAS, wave)], BASE_BIAS],
  ['a bias of another module', { bias: 'lora_only' }, [vector(K_BIAS, wave, 32)], K_BIAS],
  ['a bias that the base lacks', { bias: 'all' }, [vector(UP_BIAS, wave, 128)], UP_BIAS],
] as const) {
  test(`refused by the tensor or field: ${what}`, async () => {
    await assert.rejects(parse(changes, [...lora(Q), ...others]), { code, param });
  });
}

test('a weight of zeros has no direction to scale, except to zero', async () => {
  const base = { ...BASE, rowNorms: async () => new Float32Array(OUT) };
  await assert.rejects(parse({ use_dora: true }, dora, base), { param: MAGNITUDE });
  const zeros = [...lora(Q), vector(MAGNITUDE, () => 0)];
  const { vectors } = await parse({ use_dora: true }, zeros, base);
  assert.ok(vectors.get(outputVector('scale', 0, 'q_proj'))!.every((value) => value === 0));
});

test('without the base, only updates of linears are read', async () => {
  for (const field of ['use_dora', 'lora_bias', 'bias']) {
    const changes = { [field]: field === 'bias' ? 'all' : true };
    await assert.rejects(parse(changes, lora(Q), null), { param: field });
  }
});
