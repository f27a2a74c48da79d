// A base of the Llama family as llama.cpp reads it: a GGUF file in the checkpoint's own precision. `llama-quantize` makes it
// smaller.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { asBytes, type Tensor, type TensorSource, toFloat32 } from '../../src/common/tensor.ts';
import { embeddingName, finalNorm, headName } from '../../src/model/names.ts';
import { LLAMA_NAMES } from './adapter-gguf.ts';
import { type GgufValue, writeGguf } from './gguf-file.ts';

/** The fields of a base's `config.json` that llama.cpp needs. */
interface LlamaConfig {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly rope_theta: number;
  readonly rms_norm_eps: number;
}

/** A base. */
interface LlamaBase {
  readonly config: LlamaConfig;
  readonly tokens: Tokens;
  readonly tensors: TensorSource;
}

/** Writes the file. Norms become float32. */
export function writeBaseGguf(file: string, { config, tokens, tensors }: LlamaBase): void {
  const entries = [...tensors.infos].map(([name, info]) => {
    const isNorm = info.shape.length === 1;
    const read = (): Tensor => {
      const tensor = tensors.read(name);
      if (isNorm) return { ...tensor, dtype: 'F32', data: asBytes(toFloat32(tensor)) };
      return /[qk]_proj/.test(name) ? interleaveHalves(tensor, config.head_dim) : tensor;
    };
    return {
      name: llamaName(name),
      info: isNorm ? { ...info, dtype: 'F32' as const } : info,
      read,
    };
  });
  writeGguf(file, ggufMetadata(config, tokens), entries);
}

/** llama.cpp rotates neighbors: row j of each head's first half is followed by row j of its second half. */
function interleaveHalves(tensor: Tensor, headDim: number): Tensor {
  const rows = tensor.shape[0]!;
  const rowBytes = tensor.data.length / rows;
  const data = new Uint8Array(tensor.data.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const from = row - inHead + (inHead % 2) * (headDim / 2) + Math.floor(inHead / 2);
    data.set(tensor.data.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  }
  return { ...tensor, data };
}

/** A vocabulary with its merges. */
interface Tokens {
  readonly tokens: readonly string[];
  readonly merges: readonly string[];
  readonly controls: ReadonlySet<number>;
}

/** The vocabulary of a byte-level BPE tokenizer, by id. */
export function readTokens(dir: string): Tokens {
  const json = JSON.parse(readFileSync(path.join(dir, 'tokenizer.json'), 'utf8'));
  const tokens: string[] = [];
  for (const [token, id] of Object.entries<number>(json.model.vocab)) tokens[id] = token;
  const added: { id: number; content: string }[] = json.added_tokens ?? [];
  for (const { id, content } of added) tokens[id] = content;
  const merges: (string | string[])[] = json.model.merges;
  return {
    tokens,
    merges: merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
    controls: new Set(added.map(({ id }) => id)),
  };
}

const TOKEN_TYPE = { normal: 1, control: 3, unused: 5 } as const;

function ggufMetadata(
  config: LlamaConfig,
  { tokens, merges, controls }: Tokens,
): Record<string, GgufValue> {
  const all = Array.from({ length: config.vocab_size }, (_, i) => tokens[i] ?? `[unused${i}]`);
  const typeOf = (id: number) =>
    id >= tokens.length ? 'unused' : controls.has(id) ? 'control' : 'normal';
  return {
    'general.architecture': 'llama',
    'general.file_type': 1,
    'llama.block_count': config.num_hidden_layers,
    'llama.context_length': config.max_position_embeddings,
    'llama.embedding_length': config.hidden_size,
    'llama.feed_forward_length': config.intermediate_size,
    'llama.attention.head_count': config.num_attention_heads,
    'llama.attention.head_count_kv': config.num_key_value_heads,
    'llama.attention.layer_norm_rms_epsilon': { float: config.rms_norm_eps },
    'llama.rope.dimension_count': config.head_dim,
    'llama.rope.freq_base': { float: config.rope_theta },
    'llama.vocab_size': config.vocab_size,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': all,
    'tokenizer.ggml.token_type': Int32Array.from(all, (_, id) => TOKEN_TYPE[typeOf(id)]),
    'tokenizer.ggml.merges': merges,
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
  };
}

const OUTSIDE_LAYERS: Readonly<Record<string, string>> = {
  [embeddingName]: 'token_embd.weight',
  [headName]: 'output.weight',
  [finalNorm]: 'output_norm.weight',
};

function llamaName(name: string): string {
  const match = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name);
  if (!match) return OUTSIDE_LAYERS[name]!;
  const [, layer, module] = match;
  const norms: Record<string, string> = {
    input_layernorm: 'attn_norm',
    post_attention_layernorm: 'ffn_norm',
  };
  return `blk.${layer}.${LLAMA_NAMES[module!] ?? norms[module!]!}.weight`;
}
