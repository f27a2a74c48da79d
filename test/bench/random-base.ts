// A base of a known shape with random weights, to measure sizes for which no base is at hand: an artifact for lorikeet, and
// the same weights as GGUF for llama.cpp. What it says is noise; what it weighs and multiplies is real.
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  createTensorSource,
  elementCount,
  type TensorInfo,
  type TensorSource,
} from '../../src/common/tensor.ts';
import { COMPANION_FILES } from '../../src/import/checkpoint.ts';
import { writeArtifact } from '../../src/import/write-artifact.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { embeddingName, expectedTensors } from '../../src/model/names.ts';
import { readTokens, writeBaseGguf } from './base-gguf.ts';

/** The shape of Llama-3.2-1B, without the scaling of its rotary embedding, which costs nothing. */
const LLAMA_1B = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  vocab_size: 128_256,
  max_position_embeddings: 131_072,
  rope_theta: 500_000,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: true,
} as const;

/** The shape of Qwen2.5-0.5B. */
const QWEN_05B = {
  architectures: ['Qwen2ForCausalLM'],
  model_type: 'qwen2',
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  vocab_size: 151_936,
  max_position_embeddings: 32_768,
  rope_theta: 1_000_000,
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  tie_word_embeddings: true,
} as const;

/** The shape of Llama-3.1-8B, without that scaling. */
const LLAMA_8B = {
  ...LLAMA_1B,
  hidden_size: 4096,
  intermediate_size: 14_336,
  num_hidden_layers: 32,
  head_dim: 128,
  tie_word_embeddings: false,
} as const;

/** The shapes by the names of `--shape`. */
const SHAPES = { 'llama-1b': LLAMA_1B, 'qwen-0.5b': QWEN_05B, 'llama-8b': LLAMA_8B } as const;
type ShapeName = keyof typeof SHAPES;
/** The shapes that `writeBaseGguf` can write. */
export type LlamaShape = Exclude<ShapeName, 'qwen-0.5b'>;

/** The standard deviation of the weights, as models are initialized. */
const DEVIATION = 0.02;
const TABLE_SIZE = 4096;

/**
 * Returns the folder of an artifact, quantized to NF4 by the importer. It is kept between runs: writing it takes a minute. The
 * tokenizer is that of the artifact `tokenizerFrom`, which has fewer tokens: the rows of the others are almost zero, so no
 * answer contains one.
 */
export async function randomArtifact(shape: ShapeName, tokenizerFrom: string): Promise<string> {
  const dir = path.join(tmpdir(), `lorikeet-bench-${shape}`, `${shape}-random`);
  if (existsSync(dir)) return dir;
  const config = SHAPES[shape];
  const files = new Map(
    COMPANION_FILES.flatMap((name) => {
      const bytes = tryRead(path.join(tokenizerFrom, name));
      return bytes ? [[name, bytes] as const] : [];
    }),
  );
  const checkpoint = {
    configJson: config,
    configText: `${JSON.stringify(config, null, 2)}\n`,
    tensors: randomTensors(config, readTokens(tokenizerFrom).tokens.length),
    files,
  };
  const name = path.basename(dir);
  const options = { name, source: name, quantization: 'nf4', doubleQuantization: true } as const;
  await writeArtifact(checkpoint, dir, options);
  return dir;
}

/** Writes the same weights of a shape of Llama in fp16 to a GGUF file. */
export function writeRandomGguf(file: string, shape: LlamaShape, tokenizerFrom: string): void {
  const tokens = readTokens(tokenizerFrom);
  const config = SHAPES[shape];
  writeBaseGguf(file, { config, tokens, tensors: randomTensors(config, tokens.tokens.length) });
}

/**
 * The tensors of a checkpoint, fp16 (norms: float32), made when they are read. The same name has the same values.
 * Rows of the embedding from `tokenCount` on are almost zero.
 */
function randomTensors(config: (typeof SHAPES)[ShapeName], tokenCount: number): TensorSource {
  const shapes = expectedTensors(parseDecoderConfig(config));
  const infos = new Map<string, TensorInfo>(
    [...shapes].map(([name, shape]) => [
      name,
      { dtype: shape.length === 1 ? 'F32' : 'F16', shape: [...shape] },
    ]),
  );
  const seeds = new Map([...shapes.keys()].map((name, i) => [name, i + 1]));
  return createTensorSource(infos, (name, info) => {
    const count = elementCount(info.shape);
    if (info.dtype === 'F32') {
      return { ...info, data: new Uint8Array(new Float32Array(count).fill(1).buffer) };
    }
    const halves = normalHalves(count, seeds.get(name)!);
    if (name === embeddingName) halves.fill(SMALLEST_HALF, tokenCount * info.shape[1]!);
    return { ...info, data: new Uint8Array(halves.buffer) };
  });
}

/** The smallest normal fp16 number. */
const SMALLEST_HALF = 0x0400;

/** Normally distributed values as fp16 bits: drawn from a table of quantiles. */
function normalHalves(count: number, seed: number): Uint16Array {
  const halves = new Uint16Array(count);
  let state = Math.imul(seed, 2_654_435_761) >>> 0;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    halves[i] = NORMAL_TABLE[state >>> 20]!;
  }
  return halves;
}

const NORMAL_TABLE = Uint16Array.from({ length: TABLE_SIZE }, (_, i) =>
  toHalf(DEVIATION * normalQuantile((i + 0.5) / TABLE_SIZE)),
);

/** Tukey's lambda approximation, accurate to 1 %. */
function normalQuantile(p: number): number {
  return (p ** 0.135 - (1 - p) ** 0.135) / 0.1975;
}

/** The fp16 bits of a number between 2^-14 and 1 in size, truncated. */
function toHalf(value: number): number {
  const [bits] = new Uint32Array(Float32Array.of(value).buffer);
  const exponent = ((bits! >>> 23) & 0xff) - 127 + 15;
  if (exponent <= 0) return (bits! >>> 31) << 15;
  return ((bits! >>> 31) << 15) | (exponent << 10) | ((bits! >>> 13) & 0x3ff);
}

function tryRead(file: string): Uint8Array | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined; // the artifact has no such file
  }
}
