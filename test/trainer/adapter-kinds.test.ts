// Adapters that are more than updates of linears: their gradients, and the base that they leave alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectedTensors } from '../../src/model/names.ts';
import { withoutAdapter } from '../../trainer/evaluation/losses.ts';
import { tinyModel } from '../fixtures.ts';
import { batchOf, checkGradients, lora, trainModel } from './tiny-training.ts';

const SMALL = { hidden_size: 32, intermediate_size: 48, vocab_size: 40 };
const QWEN2 = { ...SMALL, model_type: 'qwen2' };

test('whole biases, norms and tables of the base have gradients, and start as the base', async (t) => {
  const tiny = tinyModel({ ...QWEN2, tie_word_embeddings: false });
  const names = [...expectedTensors(tiny.config).keys()].filter(
    (name) => /norm|bias|embed_tokens|lm_head/.test(name) && !name.includes('layers.1.mlp'),
  );
  assert.ok(names.some((name) => name.endsWith('k_proj.bias')));
  const whole = new Map(names.map((name) => [name, `base_model.model.${name}`]));
  const model = trainModel(t, tiny, { adapter: { ...lora(tiny.config), whole } });
  const batch = batchOf(tiny.config, [9, 12]);
  await checkGradients(model, batch);
  const base = trainModel(t, tiny);
  const expected = await base.evaluate(batch);
  for (const { data } of model.parameters) data.fill(0.1);
  assert.notEqual((await model.evaluate(batch)).loss, expected.loss);
  assert.deepEqual(await withoutAdapter(model.parameters, () => model.evaluate(batch)), expected);
});
