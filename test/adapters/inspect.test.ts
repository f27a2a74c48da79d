// What an adapter's files say without a model, and which faults are seen without one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspectAdapter } from '../../adapters/peft/inspect.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { configBytes, constant, keyOf, parseSample, sampleTensors } from './sample.ts';

const inspect = (changes: Record<string, unknown>, tensors: ReadonlyMap<string, Tensor>) =>
  inspectAdapter({
    configBytes: configBytes(changes),
    weightsBytes: serializeSafetensors(tensors),
  });

test('rank, targets and modules are those that the loader finds with the model', async () => {
  const tensors = sampleTensors({
    targets: ['q_proj', 'v_proj', 'down_proj'],
    layers: [0, 2],
    rankOf: (_, target) => (target === 'down_proj' ? 4 : 2),
  });
  const changes = {
    target_modules: ['v_proj', 'q_proj', 'down_proj'],
    layers_to_transform: [0, 2],
    rank_pattern: { down_proj: 4 },
  };
  const found = await inspect(changes, tensors);
  const loaded = await parseSample(changes, tensors);
  assert.deepEqual(found, {
    rank: loaded.rank,
    targets: loaded.targets,
    vocabSize: undefined,
    labels: undefined,
    moduleCount: 6,
    baseModel: 'sample',
  });
});

const without = (key: string) => new Map([...sampleTensors()].filter(([name]) => name !== key));
const including = (key: string, tensor: Tensor) => new Map([...sampleTensors(), [key, tensor]]);
const A = keyOf(0, 'q_proj', 'A');
const B = keyOf(0, 'q_proj', 'B');
const MAGNITUDE = A.replace('lora_A.weight', 'lora_magnitude_vector');
const HEAD = 'base_model.model.lm_head.lora_A.weight';
const NAN = 'adapter_non_finite';

for (const [what, changes, tensors, param, code = 'adapter_invalid'] of [
  ['a lone A', {}, without(B), B],
  ['a lone B', {}, without(A), A],
  ['another rank', { r: 4 }, sampleTensors(), A],
  ['a module that is not targeted', { target_modules: ['v_proj'] }, sampleTensors(), A],
  ['a head', {}, including(HEAD, constant([2, 8], 0)), HEAD],
  ['nothing', {}, new Map(), 'adapter_model.safetensors'],
  ['no number', {}, including(A, constant([2, 8], Number.NaN)), A, NAN],
  ['a huge scaled weight', { lora_alpha: 100 }, including(B, constant([12, 2], 30)), B, NAN],
  ['DoRA without magnitudes', { use_dora: true }, sampleTensors(), MAGNITUDE],
  ['a magnitude without DoRA', {}, including(MAGNITUDE, constant([12], 1)), MAGNITUDE],
  [
    'a magnitude that is no number',
    { use_dora: true },
    including(MAGNITUDE, constant([12], Number.NaN)),
    MAGNITUDE,
    NAN,
  ],
] as const) {
  test(`${what} is refused without a model`, async () => {
    await assert.rejects(inspect(changes, tensors), { code, param });
  });
}
