// The table of model families: what a config must say, what is refused, and the page that lists the rows.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { FAMILIES } from '../../src/model/families.ts';
import { ropeTables } from '../../src/model/rope.ts';
import { SMOLLM2 } from '../fixtures.ts';
import { baseTables } from './documented-families.ts';

const parse = (changes: Record<string, unknown>) => parseDecoderConfig({ ...SMOLLM2, ...changes });

test('a family that is not supported is refused with the list of those that are', () => {
  const known = Object.keys(FAMILIES).join(', ');
  assert.equal(Object.keys(FAMILIES).length, 11);
  assert.throws(() => parse({ model_type: 'mamba' }), {
    message: `model_type: "mamba" is not supported (supported: ${known})`,
  });
});

test('docs/bases.md has the rows of the tables', () => {
  const page = readFileSync(new URL('../../docs/bases.md', import.meta.url), 'utf8');
  for (const table of Object.values(baseTables())) assert.ok(page.includes(table));
});

const LONGROPE = { type: 'longrope', short_factor: [1], long_factor: [1] };
const REFUSED: Record<string, [changes: Record<string, unknown>, message: RegExp]> = {
  'another activation': [{ hidden_act: 'relu' }, /^hidden_act: "relu" .*supported: silu/],
  'an activation under the newer key': [
    { model_type: 'gemma', hidden_activation: 'silu' },
    /^hidden_activation: "silu" .*gelu_pytorch_tanh/,
  ],
  'a bias of attention': [{ attention_bias: true }, /^attention_bias: /],
  'attention in both directions': [
    { model_type: 'gemma3_text', use_bidirectional_attention: true },
    /^use_bidirectional_attention: /,
  ],
  'a layer of another kind': [
    { model_type: 'qwen3', layer_types: ['chunked_attention'] },
    /^layer_types\.0: "chunked_attention" .*full_attention, sliding_attention/,
  ],
  'layer types for too few layers': [
    { model_type: 'gemma2', layer_types: ['full_attention'] },
    /^layer_types: has fewer entries than layers/,
  ],
  'an unknown rotary embedding': [
    { rope_scaling: { rope_type: 'mrope' } },
    /^rope_scaling\.rope_type: "mrope" .*default, linear, dynamic, llama3, yarn, longrope/,
  ],
  'a rotary embedding without its factor': [
    { rope_scaling: { rope_type: 'linear' } },
    /^rope_scaling\.factor: is missing/,
  ],
  'longrope with too few factors': [
    { rope_scaling: LONGROPE },
    /^rope_scaling\.short_factor: does not have 32 numbers/,
  ],
  'a share of channels that the runtime cannot rotate': [
    { partial_rotary_factor: 0.1 },
    /^partial_rotary_factor: rotates 6 channels, which is not a multiple of 16/,
  ],
};

for (const [name, [changes, message]] of Object.entries(REFUSED)) {
  test(`${name} is refused by name`, () => {
    assert.throws(() => parse(changes), { message });
  });
}

test('a window of some layers follows from layer_types, else from the rule of the family', () => {
  const windows = (changes: Record<string, unknown>) =>
    parse({ num_hidden_layers: 4, sliding_window: 8, ...changes }).layers.map(
      ({ slidingWindow }) => slidingWindow ?? 0,
    );
  assert.deepEqual(windows({}), [0, 0, 0, 0]);
  assert.deepEqual(windows({ model_type: 'mistral' }), [8, 8, 8, 8]);
  assert.deepEqual(windows({ model_type: 'gemma2' }), [8, 0, 8, 0]);
  const qwen = { model_type: 'qwen2', max_window_layers: 3 };
  assert.deepEqual(windows(qwen), [0, 0, 0, 0]);
  assert.deepEqual(windows({ ...qwen, use_sliding_window: true }), [0, 0, 0, 8]);
  const [full, sliding] = ['full_attention', 'sliding_attention'];
  const layer_types = [full, full, sliding, full];
  assert.deepEqual(windows({ model_type: 'gemma3_text', layer_types }), [0, 0, 8, 0]);
});

test('gemma3 has a rotary embedding for each type of layer, in the older and the newer form', () => {
  const gemma = { model_type: 'gemma3_text', num_hidden_layers: 2, sliding_window_pattern: 2 };
  const linear = { rope_type: 'linear', factor: 8 };
  const older = { rope_theta: 1e6, rope_local_base_freq: 1e4, rope_scaling: linear };
  const newer = {
    rope_parameters: {
      full_attention: { ...linear, rope_theta: 1e6 },
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
    },
  };
  const [a, b] = [older, newer].map((form) => parse({ ...gemma, ...form }));
  assert.deepEqual(a, b);
  const [local, global] = a!.layers.map(({ rope }) => rope!.frequencies[1]!);
  assert.ok(local! > 8 * global!);
});

test('longrope has the long frequencies for contexts beyond the original length', () => {
  const factors = (factor: number) => new Array(32).fill(factor);
  const { ropes } = parse({
    max_position_embeddings: 128,
    original_max_position_embeddings: 32,
    rope_scaling: { type: 'su', short_factor: factors(1), long_factor: factors(4) },
  });
  const magnitude = Math.sqrt(1 + Math.log(4) / Math.log(32));
  const firstCosine = (positions: number) => ropeTables(ropes[0]!, positions).cos[32]!;
  assert.ok(Math.abs(firstCosine(32) - magnitude * Math.cos(1)) < 1e-6);
  assert.ok(Math.abs(firstCosine(33) - magnitude * Math.cos(1 / 4)) < 1e-6);
});

test('a yarn with the original length extends the context, as pages of models tell users to write it', () => {
  const contextOf = (rope_scaling: object, maxPositions = 128) =>
    parse({ max_position_embeddings: maxPositions, rope_scaling }).maxPositions;
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 128 };
  assert.equal(contextOf(yarn), 512);
  assert.equal(contextOf(yarn, 512), 512);
  assert.equal(contextOf({ rope_type: 'yarn', factor: 4 }, 512), 512);
  assert.equal(contextOf({ rope_type: 'linear', factor: 4 }), 128);
});
