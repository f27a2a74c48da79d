import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import { fromFloat32 } from '../../src/common/tensor.ts';
import { BLOCK_FORMATS } from '../../src/formats/gguf-blocks.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { temporaryFolder } from '../fixtures.ts';
import {
  type GgufTensor,
  type GgufValue,
  plainWeight,
  randomBlocks,
  writeGguf,
} from './gguf-writer.ts';

const work = temporaryFolder();

const HIDDEN = 64;
const HEADS = 4;
const KV_HEADS = 2;
const HEAD_DIM = 16;
const FFN = 96;
const VOCAB = 32;
const F32 = 0;
const TYPES = { F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 8, BF16: 30 };
const NONE = { quantization: 'none', doubleQuantization: true, hub: { cacheDir: work } } as const;

const METADATA: Record<string, GgufValue> = {
  'general.architecture': 'llama',
  'llama.block_count': 1,
  'llama.context_length': 128,
  'llama.embedding_length': HIDDEN,
  'llama.feed_forward_length': FFN,
  'llama.attention.head_count': HEADS,
  'llama.attention.head_count_kv': KV_HEADS,
  'llama.rope.dimension_count': HEAD_DIM,
  'llama.rope.freq_base': { float: 100_000 },
  'llama.attention.layer_norm_rms_epsilon': { float: 1e-5 },
  'tokenizer.ggml.bos_token_id': 1,
  'tokenizer.ggml.eos_token_id': 2,
};

/** Linear layers of one type, and the rest in F32, like the output of llama.cpp's converter. */
function modelTensors(type: number): GgufTensor[] {
  const tensor = (name: string, shape: number[], its: number): GgufTensor => {
    const count = shape.reduce((a, b) => a * b, 1);
    return { name, shape, type: its, data: randomBlocks(its, count, name.length * 7919 + its) };
  };
  return [
    tensor('token_embd.weight', [VOCAB, HIDDEN], type),
    tensor('output_norm.weight', [HIDDEN], F32),
    tensor('blk.0.attn_norm.weight', [HIDDEN], F32),
    tensor('blk.0.ffn_norm.weight', [HIDDEN], F32),
    tensor('blk.0.attn_q.weight', [HEADS * HEAD_DIM, HIDDEN], type),
    tensor('blk.0.attn_k.weight', [KV_HEADS * HEAD_DIM, HIDDEN], type),
    tensor('blk.0.attn_v.weight', [KV_HEADS * HEAD_DIM, HIDDEN], type),
    tensor('blk.0.attn_output.weight', [HIDDEN, HEADS * HEAD_DIM], type),
    tensor('blk.0.ffn_gate.weight', [FFN, HIDDEN], type),
    tensor('blk.0.ffn_up.weight', [FFN, HIDDEN], type),
    tensor('blk.0.ffn_down.weight', [HIDDEN, FFN], type),
  ];
}

/** transformers' name → the tensor in the file, and the number of heads if its rows are permuted. */
const ORIGINS: Record<string, [name: string, heads: number]> = {
  'model.embed_tokens.weight': ['token_embd.weight', 0],
  'model.norm.weight': ['output_norm.weight', 0],
  'model.layers.0.input_layernorm.weight': ['blk.0.attn_norm.weight', 0],
  'model.layers.0.post_attention_layernorm.weight': ['blk.0.ffn_norm.weight', 0],
  'model.layers.0.self_attn.q_proj.weight': ['blk.0.attn_q.weight', HEADS],
  'model.layers.0.self_attn.k_proj.weight': ['blk.0.attn_k.weight', KV_HEADS],
  'model.layers.0.self_attn.v_proj.weight': ['blk.0.attn_v.weight', 0],
  'model.layers.0.self_attn.o_proj.weight': ['blk.0.attn_output.weight', 0],
  'model.layers.0.mlp.gate_proj.weight': ['blk.0.ffn_gate.weight', 0],
  'model.layers.0.mlp.up_proj.weight': ['blk.0.ffn_up.weight', 0],
  'model.layers.0.mlp.down_proj.weight': ['blk.0.ffn_down.weight', 0],
};

/** The index in the file of element [row, col] of the imported tensor: [head, half, pair] against [head, pair, half]. */
function storedRow(row: number, heads: number): number {
  if (heads === 0) return row;
  const [head, at] = [Math.floor(row / HEAD_DIM), row % HEAD_DIM];
  const [upper, i] = at < HEAD_DIM / 2 ? [0, at] : [1, at - HEAD_DIM / 2];
  return head * HEAD_DIM + 2 * i + upper;
}

function createFile(name: string, metadata: Record<string, GgufValue>, tensors: GgufTensor[]) {
  const file = path.join(work, name);
  writeFileSync(file, writeGguf(metadata, tensors));
  return file;
}

for (const [typeName, type] of Object.entries({ F32, ...TYPES })) {
  test(`${typeName}: values are dequantized, reordered and rounded to bf16`, async () => {
    const tensors = modelTensors(type);
    const out = path.join(work, `out-${typeName}`);
    const info = await importModel(createFile(`My-${typeName}.gguf`, METADATA, tensors), out, NONE);
    assert.equal(info.name, `My-${typeName}`);
    assert.equal(info.source, `My-${typeName}.gguf`);
    const artifact = readArtifact(out);
    for (const [target, [name, heads]] of Object.entries(ORIGINS)) {
      const { shape, data, type: its } = tensors.find((tensor) => tensor.name === name)!;
      const cols = shape.at(-1)!;
      const expected = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
        plainWeight(its, data, storedRow(Math.floor(i / cols), heads) * cols + (i % cols)),
      );
      assert.deepEqual(artifact.tensors.read(target), fromFloat32(expected, shape, 'BF16'), target);
    }
    artifact.tensors.close();
  });
}

test('the configuration follows from the metadata', async () => {
  const out = path.join(work, 'out-config');
  await importModel(createFile('config.gguf', METADATA, modelTensors(TYPES.Q8_0)), out, NONE);
  const { config, tensors } = readArtifact(out);
  tensors.close();
  const expected = parseDecoderConfig({
    model_type: 'llama',
    num_hidden_layers: 1,
    hidden_size: HIDDEN,
    intermediate_size: FFN,
    num_attention_heads: HEADS,
    num_key_value_heads: KV_HEADS,
    head_dim: HEAD_DIM,
    vocab_size: VOCAB,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 100_000,
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_id: 2,
  });
  assert.deepEqual(config, expected);
});

const good = () => modelTensors(TYPES.F16);
const spoiled = (change: (tensors: GgufTensor[]) => void) => {
  const tensors = good();
  change(tensors);
  return writeGguf(METADATA, tensors);
};
/** Rows of one super-block. */
const K_TYPES = { Q5_0: 6, Q5_1: 7, Q2_K: 10, Q3_K: 11, Q4_K: 12, Q5_K: 13, Q6_K: 14 };

for (const [name, type] of Object.entries(K_TYPES)) {
  test(`${name}: values are those of ggml's definition`, () => {
    const count = 4 * 256;
    const data = randomBlocks(type, count, type);
    const expected = Float32Array.from({ length: count }, (_, i) => plainWeight(type, data, i));
    const values = new Float32Array(count);
    BLOCK_FORMATS[type]!.dequantize(data, values);
    assert.deepEqual(values, expected);
  });
}

const refused: Record<string, [field: string, bytes: Uint8Array]> = {
  'another architecture': [
    'general.architecture',
    writeGguf({ ...METADATA, 'general.architecture': 'mamba' }, good()),
  ],
  'a missing key': ['llama.block_count', writeGguf({ 'general.architecture': 'llama' }, good())],
  'rotary scaling of another kind': [
    'llama.rope.scaling.type',
    writeGguf({ ...METADATA, 'llama.rope.scaling.type': 'su' }, good()),
  ],
  'partial rope that the runtime cannot compute': [
    'partial_rotary_factor',
    writeGguf({ ...METADATA, 'llama.rope.dimension_count': 8 }, good()),
  ],
  'an unknown tensor': [
    'blk.0.ffn_gate_inp.weight',
    spoiled((tensors) =>
      tensors.push({
        name: 'blk.0.ffn_gate_inp.weight',
        shape: [8],
        type: F32,
        data: new Uint8Array(32),
      }),
    ),
  ],
  'a missing tensor': ['model.norm.weight', spoiled((tensors) => tensors.splice(1, 1))],
  'a block format that is not supported': [
    'token_embd.weight',
    spoiled((tensors) => {
      tensors[0]!.type = 16; // IQ2_XXS
    }),
  ],
  'a file that is cut short': [
    'blk.0.ffn_down.weight',
    writeGguf(METADATA, good()).subarray(0, -64),
  ],
  'a file of another kind': ['header', Buffer.from('PK\u0003\u0004 this is a zip'.repeat(100))],
  'an empty file': ['header', new Uint8Array(0)],
};

for (const [what, [field, bytes]] of Object.entries(refused)) {
  test(`${what} is rejected by name`, async () => {
    const file = path.join(work, 'bad.gguf');
    writeFileSync(file, bytes);
    const out = path.join(work, 'out-bad');
    await assert.rejects(importModel(file, out, NONE), (error) => {
      assert.ok(error instanceof FileError, String(error));
      assert.equal(error.field, field);
      return true;
    });
    assert.deepEqual(
      readdirSync(work).filter((name) => name.startsWith('out-bad')),
      [],
    );
  });
}

test('a scaling of the rotary embedding extends the context', async () => {
  const source = createFile('scaled.gguf', METADATA, modelTensors(TYPES.Q8_0));
  const configOf = async (name: string, ropeScaling: Record<string, unknown>) => {
    const out = path.join(work, name);
    await importModel(source, out, { ...NONE, ropeScaling });
    const { config, tensors } = readArtifact(out);
    tensors.close();
    return config;
  };
  const yarn = await configOf('out-yarn', { rope_type: 'yarn', factor: 4 });
  assert.equal(yarn.maxPositions, 512);
  assert.ok(Math.abs(yarn.ropes[0]!.magnitude - (0.1 * Math.log(4) + 1)) < 1e-9);
  const linear = await configOf('out-linear', { rope_type: 'linear', factor: 2 });
  assert.equal(linear.maxPositions, 256);
  assert.equal(linear.ropes[0]!.frequencies[0], 0.5);
  const older = await configOf('out-older', { type: 'linear', factor: 2 });
  assert.equal(older.maxPositions, 256);
  const refused = [
    [{}, /rope_type must be one of linear/],
    [{ rope_type: 'spiral', factor: 2 }, /rope_type must be one of/],
    [{ rope_type: 'dynamic', factor: 2 }, /rope_type must be one of/],
    [{ rope_type: 'yarn' }, /factor must be a number above 1/],
    [{ rope_type: 'yarn', factor: 0.5 }, /factor must be a number above 1/],
    [{ rope_type: 'yarn', factr: 4 }, /there is no factr/],
    [{ rope_type: 'yarn', factor: 4, rope_theta: 1 }, /rope_theta: must be above 1/],
    [
      { rope_type: 'llama3', factor: 4, low_freq_factor: 4, high_freq_factor: 1 },
      /high_freq_factor: must be above low_freq_factor/,
    ],
  ] as const;
  for (const [scaling, message] of refused)
    await assert.rejects(configOf('out-wrong', scaling), message);
});
