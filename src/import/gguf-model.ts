// Opens a GGUF file as a checkpoint with transformers' names, configuration and row order. Values are rounded to bf16, the
// precision that such files are usually converted from.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseFileValue } from '../common/schema-errors.ts';
import {
  createTensorSource,
  fromFloat32,
  type TensorInfo,
  type TensorSource,
} from '../common/tensor.ts';
import { type GgufFile, openGguf } from '../formats/gguf.ts';
import { FAMILIES, type Family } from '../model/families.ts';
import { embeddingName, finalNorm, headName, layerPrefix } from '../model/names.ts';
import { tokenizerFromGguf } from '../tokenizer/gguf-tokenizer.ts';
import type { Checkpoint } from './checkpoint.ts';
import { ARCHITECTURES, type Architecture, BLOCK_MODULES } from './gguf-architectures.ts';

/** llama.cpp's name outside of blocks → transformers' tensor. */
const MODEL_TENSORS: Readonly<Record<string, string>> = {
  'token_embd.weight': embeddingName,
  'output_norm.weight': finalNorm,
  'output.weight': headName,
};

/** Divisors of the frequencies: llama.cpp's tensor → the parameter of `longrope`. */
const ROPE_FACTORS = {
  short_factor: ['rope_factors_short.weight', 'rope_freqs.weight'],
  long_factor: ['rope_factors_long.weight', 'rope_freqs.weight'],
} as const;

const positive = z.number().int().positive();
const factor = z.number().positive().optional();
const tokenId = z.number().int().nonnegative().optional();

/** An architecture's metadata, by keys without the architecture's name. */
const architectureSchema = z.looseObject({
  block_count: positive,
  context_length: positive,
  embedding_length: positive,
  feed_forward_length: positive,
  'attention.head_count': positive,
  'attention.head_count_kv': positive.optional(),
  'attention.key_length': positive.optional(),
  'attention.layer_norm_rms_epsilon': z.number().positive(),
  'rope.dimension_count': positive.optional(),
  'rope.freq_base': factor,
  'rope.scaling.type': z.enum(['none', 'linear', 'yarn', 'longrope']).optional(),
  'rope.scaling.factor': factor,
  'rope.scaling.attn_factor': factor,
  'rope.scaling.original_context_length': positive.optional(),
});

const tokensSchema = z.looseObject({
  'tokenizer.ggml.bos_token_id': tokenId,
  'tokenizer.ggml.eos_token_id': tokenId,
  'tokenizer.ggml.padding_token_id': tokenId,
});

type Shape = z.infer<typeof architectureSchema>;

/** The parts of the file that the model is built from. */
interface Source {
  readonly file: GgufFile;
  readonly architecture: Architecture;
  readonly family: Family;
  readonly shape: Shape;
}

/** Opens the file. The caller closes `tensors`. Throws `FileError` naming the key or tensor at fault. */
export async function openGgufModel(path: string): Promise<Checkpoint> {
  const file = await openGguf(path);
  try {
    const source = describe(file);
    const configJson = createConfig(source);
    return {
      configJson,
      configText: `${JSON.stringify(configJson, null, 2)}\n`,
      tensors: createSource(source),
      files: tokenizerFiles(file.metadata),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function describe(file: GgufFile): Source {
  const name = String(file.metadata['general.architecture']);
  const architecture = Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
  if (!architecture) {
    const names = Object.keys(ARCHITECTURES).join(', ');
    const reason = `"${name}" is not supported (supported: ${names})`;
    throw new FileError('general.architecture', reason);
  }
  const prefix = `${name}.`;
  const entries = Object.entries(file.metadata).filter(([key]) => key.startsWith(prefix));
  const values = Object.fromEntries(
    entries.map(([key, value]) => [key.slice(prefix.length), value]),
  );
  const parsed = architectureSchema.safeParse(values);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new FileError(prefix + issue!.path.join('.'), issue!.message);
  }
  return { file, architecture, family: FAMILIES[architecture.family], shape: parsed.data };
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

/** Returns the config.json that transformers would write for this model. */
function createConfig(source: Source): Record<string, unknown> {
  const { file, architecture, family, shape } = source;
  const tokens = parseFileValue(tokensSchema, file.metadata);
  const headCount = shape['attention.head_count'];
  const headDim = shape['attention.key_length'] ?? shape.embedding_length / headCount;
  const rotary = shape['rope.dimension_count'] ?? headDim;
  const read = (key: string) => {
    const value = shape[key];
    return typeof value === 'number' ? shortest(value) : undefined;
  };
  return {
    architectures: [architecture.className],
    model_type: architecture.family,
    hidden_act: family.activation,
    hidden_size: shape.embedding_length,
    intermediate_size: shape.feed_forward_length,
    num_hidden_layers: shape.block_count,
    num_attention_heads: headCount,
    num_key_value_heads: shape['attention.head_count_kv'] ?? headCount,
    head_dim: headDim,
    vocab_size: file.shapes.get('token_embd.weight')?.[0],
    max_position_embeddings: shape.context_length,
    rms_norm_eps: shortest(shape['attention.layer_norm_rms_epsilon']),
    rope_theta: shortest(shape['rope.freq_base'] ?? 10_000),
    ...(rotary === headDim ? {} : { partial_rotary_factor: rotary / headDim }),
    rope_scaling: ropeScaling(source),
    ...architecture.config?.(read),
    tie_word_embeddings: !file.shapes.has('output.weight'),
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: tokens['tokenizer.ggml.bos_token_id'] ?? null,
    eos_token_id: tokens['tokenizer.ggml.eos_token_id'] ?? null,
    pad_token_id: tokens['tokenizer.ggml.padding_token_id'] ?? null,
    torch_dtype: 'bfloat16',
  };
}

/** Returns the parameters of the rotary embedding. Divisors in a tensor take precedence, as in llama.cpp. */
function ropeScaling({ file, shape }: Source): Record<string, unknown> | null {
  const original = shape['rope.scaling.original_context_length'];
  const originalMax = original ? { original_max_position_embeddings: original } : {};
  const factors = Object.entries(ROPE_FACTORS).flatMap(([key, names]) => {
    const name = names.find((one) => file.shapes.has(one));
    return name ? [[key, Array.from(file.read(name))] as const] : [];
  });
  if (factors.length > 0) {
    const attention_factor = shape['rope.scaling.attn_factor'] ?? 1;
    return {
      rope_type: 'longrope',
      ...Object.fromEntries(factors),
      attention_factor,
      ...originalMax,
    };
  }
  const type = shape['rope.scaling.type'] ?? 'none';
  if (type === 'none') return null;
  return { rope_type: type, factor: shape['rope.scaling.factor'], ...originalMax };
}

/** Recovers the decimal that was stored as a float32: 9.999999747378752e-6 becomes 1e-5. */
function shortest(value: number): number {
  return Number(value.toPrecision(7));
}

interface Origin {
  /** The tensor's name in the file. */
  readonly name: string;
  /** The number of heads whose rows are permuted. 0 if none are. */
  readonly permutedHeads: number;
  /** Subtracted from all values. */
  readonly offset: number;
}

function createSource({ file, architecture, family, shape }: Source): TensorSource {
  const headCount = shape['attention.head_count'];
  const headsOf: Readonly<Record<string, number>> = architecture.permutesRows
    ? { attn_q: headCount, attn_k: shape['attention.head_count_kv'] ?? headCount }
    : {};
  const ropeFactors = new Set<string>(Object.values(ROPE_FACTORS).flat());
  const infos = new Map<string, TensorInfo>();
  const origins = new Map<string, Origin>();
  for (const [name, dims] of file.shapes) {
    if (ropeFactors.has(name)) continue;
    const [, layer, module = '', kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
    const blockModule = architecture.modules?.[module] ?? BLOCK_MODULES[module];
    const target = blockModule
      ? `${layerPrefix(Number(layer))}${blockModule}.${kind}`
      : MODEL_TENSORS[name];
    if (!target) {
      throw new FileError(name, `is not a known tensor of a ${architecture.family} model`);
    }
    infos.set(target, { dtype: 'BF16', shape: dims });
    // llama.cpp stores the factor of a norm, including the added 1.
    const offset = family.normAddsOne && target.includes('norm') ? 1 : 0;
    origins.set(target, { name, permutedHeads: headsOf[module] ?? 0, offset });
  }
  const read = (target: string, { shape: dims }: TensorInfo) => {
    const { name, permutedHeads, offset } = origins.get(target)!;
    const stored = file.read(name);
    const values = permutedHeads ? unpermuteRows(stored, dims, permutedHeads) : stored;
    return fromFloat32(offset ? values.map((value) => value - offset) : values, dims, 'BF16');
  };
  return createTensorSource(infos, read, { close: () => file.close() });
}

/**
 * Restores the row order of query or key weights. llama.cpp and glassllm rotate neighboring rows of a head together;
 * transformers rotates row i with row i + half. [heads, half, 2, cols] becomes [heads, 2, half, cols]. The wrong order still
 * produces fluent text, so tests must compare logits.
 */
export function unpermuteRows(
  stored: Float32Array,
  [rows = 0, cols = 1]: readonly number[],
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
