// GGUF files of every architecture, as llama.cpp's converters write them, from the tiny models.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fromFloat32 } from '../../src/common/tensor.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { ARCHITECTURES } from '../../src/import/gguf-architectures.ts';
import { importModel } from '../../src/import/import-model.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { type GgufTensor, type GgufValue, writeGguf } from './gguf-writer.ts';

const F32 = 0;
const NONE = { quantization: 'none', doubleQuantization: true } as const;

const MODEL_NAMES: Record<string, string> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};

const MODULES: Record<string, string> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.qkv_proj': 'attn_qkv',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'self_attn.o_proj': 'attn_output',
  pre_feedforward_layernorm: 'ffn_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.gate_up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** The architecture's name and the metadata that a config's keys become. */
const METADATA: Record<string, [gguf: string, isInteger?: true]> = {
  attention_multiplier: ['attention.scale'],
  embedding_multiplier: ['embedding_scale'],
  residual_multiplier: ['residual_scale'],
  logits_scaling: ['logit_scale'],
  sliding_window: ['attention.sliding_window', true],
  attn_logit_softcapping: ['attn_logit_softcapping'],
  final_logit_softcapping: ['final_logit_softcapping'],
  rope_theta: ['rope.freq_base'],
  rope_local_base_freq: ['rope.freq_base_swa'],
  original_max_position_embeddings: ['rope.scaling.original_context_length', true],
};

/** What files cannot say, or say in another way: the rule of the family, or the size of a head. */
const FIXED: Record<string, unknown> = {
  sliding_window_pattern: undefined,
  query_pre_attn_scalar: 16,
  no_rope_layers: undefined,
};

const cases = TINY_FAMILIES.filter(([, { model_type }]) => model_type !== 'mistral').filter(
  ([, changes]) => !('use_sliding_window' in changes),
);

test('every architecture has a case', () => {
  const families = new Set(cases.map(([, { model_type = 'llama' }]) => model_type));
  for (const { family } of Object.values(ARCHITECTURES)) assert.ok(families.has(family), family);
});

for (const [name, changes] of cases) {
  test(`${name}: config and tensors are those that were converted`, async (t) => {
    const own = Object.entries(changes).map(([key, value]) => [
      key,
      key in FIXED ? FIXED[key] : value,
    ]);
    const model = tinyModel(Object.fromEntries(own));
    const file = path.join(temporaryFolder(t), 'model.gguf');
    writeFileSync(file, converted(model));
    const out = path.join(temporaryFolder(t), 'out');
    await importModel(file, out, NONE);
    const artifact = readArtifact(out);
    t.after(() => artifact.tensors.close());
    assert.deepEqual(artifact.config, model.config);
    for (const [tensor, shape] of expectedTensors(model.config)) {
      const isShifted = model.config.normAddsOne && tensor.includes('norm');
      const values = model
        .weights(tensor)
        .map((value) => (isShifted ? Math.fround(value + 1) - 1 : value));
      assert.deepEqual(artifact.tensors.read(tensor), fromFloat32(values, shape, 'BF16'), tensor);
    }
  });
}

function converted({ config, artifact, weights }: ReturnType<typeof tinyModel>): Uint8Array {
  const { configJson } = artifact;
  const architecture = Object.entries(ARCHITECTURES).find(
    ([, { family }]) => family === config.family,
  )![0];
  const metadata: Record<string, GgufValue> = { 'general.architecture': architecture };
  const set = (key: string, value: GgufValue) => {
    metadata[`${architecture}.${key}`] = value;
  };
  set('block_count', config.layerCount);
  set('context_length', config.maxPositions);
  set('embedding_length', config.hiddenSize);
  set('feed_forward_length', config.intermediateSize);
  set('attention.head_count', config.headCount);
  set('attention.head_count_kv', config.kvHeadCount);
  set('attention.key_length', config.headDim);
  set('attention.layer_norm_rms_epsilon', { float: config.rmsNormEps });
  set('rope.dimension_count', config.rotaryDim);
  metadata['tokenizer.ggml.eos_token_id'] = 2;
  for (const [key, [gguf, isInteger]] of Object.entries(METADATA)) {
    const value = configJson[key];
    if (typeof value === 'number') set(gguf, isInteger ? value : { float: value });
  }
  const tensors: GgufTensor[] = [];
  const add = (name: string, shape: readonly number[], values: ArrayLike<number>) => {
    const data = new Uint8Array(Float32Array.from(values).buffer);
    tensors.push({ name, shape, type: F32, data });
  };
  const scaling = (configJson['rope_scaling'] ?? {}) as Record<string, never>;
  if (scaling['factor']) {
    set('rope.scaling.type', 'linear');
    set('rope.scaling.factor', { float: scaling['factor'] });
  }
  for (const length of ['short', 'long']) {
    const factors = scaling[`${length}_factor`] as number[] | undefined;
    if (factors) add(`rope_factors_${length}.weight`, [factors.length], factors);
  }
  if (scaling['long_factor'])
    set('rope.scaling.attn_factor', { float: config.ropes[0]!.magnitude });
  for (const [tensor, shape] of expectedTensors(config)) {
    const values = weights(tensor);
    const added = config.normAddsOne && tensor.includes('norm') ? values.map((v) => v + 1) : values;
    add(ggufName(tensor, config), shape, permuted(added, tensor, architecture, config));
  }
  return writeGguf(metadata, tensors);
}

type TinyConfig = ReturnType<typeof tinyModel>['config'];

function ggufName(tensor: string, { norms }: TinyConfig): string {
  const [, layer, module, kind] = /^model\.layers\.(\d+)\.(.*)\.(weight|bias)$/.exec(tensor) ?? [];
  if (!module) return MODEL_NAMES[tensor]!;
  const isAfterAttention = norms.attention.after === 'post_attention_layernorm';
  const between = isAfterAttention ? 'post_attention_norm' : 'ffn_norm';
  const own = module === 'post_attention_layernorm' ? between : MODULES[module]!;
  return `blk.${layer}.${own}.${kind}`;
}

/** Puts neighbors of a rotation side by side, as llama.cpp's converter does for some architectures. */
function permuted(
  values: Float32Array,
  tensor: string,
  architecture: string,
  { hiddenSize, headDim }: TinyConfig,
): Float32Array {
  const isPermuted = ['llama', 'granite', 'smollm3'].includes(architecture);
  if (!isPermuted || !/\.[qk]_proj\./.test(tensor)) return values;
  return values.map((_, i) => {
    const [row, col] = [Math.floor(i / hiddenSize), i % hiddenSize];
    const inHead = row % headDim;
    const from = row - inHead + (inHead % 2) * (headDim / 2) + Math.floor(inHead / 2);
    return values[from * hiddenSize + col]!;
  });
}
