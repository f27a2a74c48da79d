// Opens a GGUF file of the llama architecture as a checkpoint with the names, configuration and row order of
// transformers. Values are rounded to bf16, the precision that such files are converted from.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseFileValue } from '../common/schema-errors.ts';
import { fromFloat32, type TensorInfo, type TensorSource } from '../common/tensor.ts';
import { type GgufFile, openGguf } from '../formats/gguf.ts';
import { embeddingName, finalNorm, headName, layerTensor } from '../model/names.ts';
import { tokenizerFromGguf } from '../tokenizer/gguf-tokenizer.ts';
import type { Checkpoint } from './checkpoint.ts';

/** llama.cpp's name outside of blocks → transformers' tensor. */
const modelTensors: Readonly<Record<string, string>> = {
  'token_embd.weight': embeddingName,
  'output_norm.weight': finalNorm,
  'output.weight': headName,
};

/** llama.cpp's name in a block → transformers' module. */
const blockModules: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

const positive = z.number().int().positive();
const tokenId = z.number().int().nonnegative().optional();

const metadataSchema = z.looseObject({
  'general.architecture': z.literal('llama'),
  'llama.block_count': positive,
  'llama.context_length': positive,
  'llama.embedding_length': positive,
  'llama.feed_forward_length': positive,
  'llama.attention.head_count': positive,
  'llama.attention.head_count_kv': positive.optional(),
  'llama.attention.key_length': positive.optional(),
  'llama.attention.layer_norm_rms_epsilon': z.number().positive(),
  'llama.rope.dimension_count': positive.optional(),
  'llama.rope.freq_base': z.number().positive().optional(),
  'llama.rope.scaling.type': z.enum(['none', 'linear']).optional(),
  'llama.rope.scaling.factor': z.number().positive().optional(),
  'tokenizer.ggml.bos_token_id': tokenId,
  'tokenizer.ggml.eos_token_id': tokenId,
  'tokenizer.ggml.padding_token_id': tokenId,
});

type ModelMetadata = z.infer<typeof metadataSchema>;

/** Opens the file. The caller closes `tensors`. Throws `FileError` naming the key or tensor at fault. */
export async function openGgufModel(path: string): Promise<Checkpoint> {
  const file = await openGguf(path);
  try {
    const metadata = parseFileValue(metadataSchema, file.metadata);
    const configJson = createConfig(file, metadata);
    return {
      configJson,
      configText: `${JSON.stringify(configJson, null, 2)}\n`,
      tensors: createSource(file, metadata),
      files: tokenizerFiles(file.metadata),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Returns tokenizer.json and tokenizer_config.json, or nothing if the file contains no tokenizer. */
function tokenizerFiles(metadata: GgufFile['metadata']): Map<string, Uint8Array> {
  if (metadata['tokenizer.ggml.model'] === undefined) return new Map();
  const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf({ ...metadata });
  return new Map([
    ['tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizerJson))],
    ['tokenizer_config.json', new TextEncoder().encode(JSON.stringify(tokenizerConfig, null, 2))],
  ]);
}

function headDimOf(metadata: ModelMetadata): number {
  const headCount = metadata['llama.attention.head_count'];
  const headDim =
    metadata['llama.attention.key_length'] ?? metadata['llama.embedding_length'] / headCount;
  const rotary = metadata['llama.rope.dimension_count'] ?? headDim;
  if (rotary !== headDim) {
    throw new FileError(
      'llama.rope.dimension_count',
      `rotates ${rotary} of ${headDim} dimensions. Partial rotary embeddings are not supported.`,
    );
  }
  return headDim;
}

/** Returns the config.json that transformers would write for this model. */
function createConfig(file: GgufFile, metadata: ModelMetadata): Record<string, unknown> {
  const headCount = metadata['llama.attention.head_count'];
  const isLinear = metadata['llama.rope.scaling.type'] === 'linear';
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: metadata['llama.embedding_length'],
    intermediate_size: metadata['llama.feed_forward_length'],
    num_hidden_layers: metadata['llama.block_count'],
    num_attention_heads: headCount,
    num_key_value_heads: metadata['llama.attention.head_count_kv'] ?? headCount,
    head_dim: headDimOf(metadata),
    vocab_size: file.shapes.get('token_embd.weight')?.[0],
    max_position_embeddings: metadata['llama.context_length'],
    rms_norm_eps: shortest(metadata['llama.attention.layer_norm_rms_epsilon']),
    rope_theta: shortest(metadata['llama.rope.freq_base'] ?? 10_000),
    rope_scaling: isLinear
      ? { rope_type: 'linear', factor: metadata['llama.rope.scaling.factor'] }
      : null,
    tie_word_embeddings: !file.shapes.has('output.weight'),
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: metadata['tokenizer.ggml.bos_token_id'] ?? null,
    eos_token_id: metadata['tokenizer.ggml.eos_token_id'] ?? null,
    pad_token_id: metadata['tokenizer.ggml.padding_token_id'] ?? null,
    torch_dtype: 'bfloat16',
  };
}

/** Recovers the decimal that was stored as a float32: 9.999999747378752e-6 becomes 1e-5. */
function shortest(value: number): number {
  return Number(value.toPrecision(7));
}

interface Origin {
  /** The tensor's name in the file. */
  readonly name: string;
  /** The number of heads whose rows are permuted. 0 if the rows are in order. */
  readonly permutedHeads: number;
}

function createSource(file: GgufFile, metadata: ModelMetadata): TensorSource {
  const headCount = metadata['llama.attention.head_count'];
  const headsOf: Readonly<Record<string, number>> = {
    attn_q: headCount,
    attn_k: metadata['llama.attention.head_count_kv'] ?? headCount,
  };
  const infos = new Map<string, TensorInfo>();
  const origins = new Map<string, Origin>();
  for (const [name, shape] of file.shapes) {
    const [, layer, module = ''] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
    const blockModule = blockModules[module];
    const target = blockModule ? layerTensor(Number(layer), blockModule) : modelTensors[name];
    if (!target) throw new FileError(name, 'is not a known tensor of a llama model');
    infos.set(target, { dtype: 'BF16', shape });
    origins.set(target, { name, permutedHeads: headsOf[module] ?? 0 });
  }
  return {
    infos,
    read(target) {
      const origin = origins.get(target);
      if (!origin) throw new FileError(target, 'is not in the file');
      const { shape } = infos.get(target)!;
      const stored = file.read(origin.name);
      const values = origin.permutedHeads
        ? unpermuteRows(stored, shape, origin.permutedHeads)
        : stored;
      return fromFloat32(values, shape, 'BF16');
    },
    close: () => file.close(),
  };
}

/**
 * Reorders query or key weights. llama.cpp and glassllm rotate neighboring rows of a head together; transformers rotates
 * row i with row i + half. [heads, half, 2, cols] becomes [heads, 2, half, cols]. The wrong order still produces fluent
 * text, so tests must compare logits.
 */
export function unpermuteRows(
  stored: Float32Array,
  [rows = 0, cols = 0]: readonly number[],
  heads: number,
): Float32Array {
  const headDim = rows / heads;
  const half = headDim / 2;
  const values = new Float32Array(stored.length);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim);
    const inHead = row % headDim;
    const from = head * headDim + (inHead % half) * 2 + Math.floor(inHead / half);
    values.set(stored.subarray(from * cols, (from + 1) * cols), row * cols);
  }
  return values;
}
