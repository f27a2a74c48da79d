// Adapters that train the embedding, the head or norms: their gradients, and logits equal to those of a plain decoder that reads
// the adapter's file as the server does.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { EMBEDDING, HEAD, tensorName } from '../../adapters/peft/tensor-names.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { adapterTensors } from '../../trainer/adapter/tensors.ts';
import { withoutAdapter } from '../../trainer/evaluation/losses.ts';
import type { LoraSettings, ModuleUpdate } from '../../trainer/types.ts';
import { adapterBytes } from '../adapters/sample.ts';
import { worstDifference } from '../engine/runner.ts';
import { seededRandom, type TinyModel, tinyModel } from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';
import { batchOf, checkGradients, lora, trainModel } from './tiny-training.ts';

const SMALL = { hidden_size: 32, intermediate_size: 48, vocab_size: 40 };
const UNTIED = { tie_word_embeddings: false };
const GRANITE = { model_type: 'granite', embedding_multiplier: 3, logits_scaling: 2 };

interface Case {
  readonly base?: object;
  /** Modules with an update. */
  readonly updated?: readonly string[];
  /** Modules that are trained whole. */
  readonly saved?: readonly string[];
  readonly ties?: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  'a tied head of its own': { saved: [HEAD] },
  'a tied embedding of its own': { saved: [EMBEDDING] },
  'both uses of a tied embedding': { saved: [EMBEDDING], ties: true },
  'a tied head and its embedding apart': { saved: [EMBEDDING, HEAD] },
  'a head and an embedding': { base: UNTIED, saved: [EMBEDDING, HEAD] },
  'an update of a tied head': { updated: [HEAD] },
  'an update of a tied embedding': { updated: [EMBEDDING] },
  'an update of both uses of a tied embedding': { updated: [EMBEDDING], ties: true },
  'updates of a head and an embedding': { base: UNTIED, updated: [EMBEDDING, HEAD] },
  'updates with multipliers': { base: GRANITE, updated: [EMBEDDING], ties: true },
  'an update of a scaled embedding, and norms': {
    base: { model_type: 'gemma', head_dim: 16 },
    updated: [EMBEDDING],
    saved: ['model.norm', 'model.layers.1.input_layernorm'],
  },
};

/** The settings of a case, with visible initial weights. */
function settingsOf({ config }: TinyModel, { updated = [], saved = [], ties }: Case): LoraSettings {
  const plain = lora(config);
  const own = updated.map((module) => [module, { rank: 3, scaling: 1.5 }] as const);
  const modules = new Map<string, ModuleUpdate>([...plain.modules, ...own]);
  const whole = new Map(saved.map((name) => [`${name}.weight`, tensorName(name, 'whole')]));
  const settings = { modules, whole, tiesWeights: ties };
  const random = seededRandom(11);
  const init = new Map(plain.init);
  for (const { name, shape, neutral } of adapterTensors(config, settings)) {
    if (init.has(name) || neutral.kind !== 'zeros') continue;
    const values = new Float32Array(shape[0]! * shape[1]!).map(() => 0.2 * random());
    init.set(name, fromFloat32(values, shape, 'F32'));
  }
  return { ...settings, init };
}

/** The adapter in training as the server reads it from its file. */
function served(
  { config, artifact }: TinyModel,
  { parameters }: ReturnType<typeof trainModel>,
  { updated = [], saved = [], ties = false }: Case,
) {
  const tensors = new Map<string, Tensor>(
    parameters.map(({ name, shape, data }) => [name, fromFloat32(data, shape, 'F32')]),
  );
  const ofLayers = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'].map((name) => `${name}_proj`);
  const fields = {
    ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 4, lora_alpha: 8 },
    target_modules: [...ofLayers, ...updated],
    rank_pattern: { down_proj: 3, lm_head: 3, embed_tokens: 3 },
    alpha_pattern: { q_proj: 6, down_proj: 6, lm_head: 4.5, embed_tokens: 4.5 },
    modules_to_save: saved,
    ensure_weight_tying: ties,
  };
  const bytes = adapterBytes(Buffer.from(JSON.stringify(fields)), serializeSafetensors(tensors));
  return parseAdapter(bytes, config, adaptedBaseOf(artifact));
}

function open(t: TestContext, { base = {}, ...one }: Case) {
  const tiny = tinyModel({ ...SMALL, ...base });
  return { tiny, model: trainModel(t, tiny, { adapter: settingsOf(tiny, one) }) };
}

for (const [name, one] of Object.entries(CASES)) {
  test(`${name}: gradients are those of finite differences, and logits those of the server`, async (t) => {
    const { tiny, model } = open(t, one);
    const batch = batchOf(tiny.config, [9, 12]);
    const base = await trainModel(t, tiny).evaluate(batch);
    const alone = await withoutAdapter(model.parameters, () => model.evaluate(batch));
    assert.ok(Math.abs(alone.loss - base.loss) < 1e-4);
    await checkGradients(model, batch);
    const random = seededRandom(12);
    for (const { data } of model.parameters)
      for (const i of data.keys()) data[i]! += 0.1 * random();
    const ids = [...batch.inputIds.subarray(batch.length)]; // the longer row
    const got = (await model.logits(batch)).subarray(batch.length * tiny.config.vocabSize);
    const adapter = await served(tiny, model, one);
    const wanted = plainLogits(tiny.config, tiny.weights, ids, adapter);
    const difference = worstDifference(got, Float32Array.from(wanted.flatMap((row) => [...row])));
    assert.ok(difference < 2e-4, `logits are off by ${difference}`);
  });
}
