// Computes a model's size from its configuration, or estimates size and shape from a number of parameters.
import { UsageError } from '../../src/common/errors.ts';
import { type DecoderConfig, parseDecoderConfig } from '../../src/model/config.ts';
import { parameterCount } from '../../src/model/names.ts';
import { loraPerRank, TARGET_MODULES, targetNames } from '../../src/model/target-modules.ts';

/** The counts of a model's weights that memory estimates need. */
export interface ModelSize {
  readonly parameters: number;
  /** Weights of the decoder blocks' linears, which NF4 packs. */
  readonly linearWeights: number;
  readonly layers: number;
  readonly hidden: number;
  /** LoRA parameters per unit of rank, on all linears. */
  readonly loraPerRank: number;
}

/** Computes the size of a configured model. */
export function sizeOfConfig(config: DecoderConfig): ModelSize {
  const { layerCount: layers, hiddenSize: hidden } = config;
  const ofLayer = targetNames(config)
    .map((name) => TARGET_MODULES[name])
    .map(({ inFeatures, outFeatures }) => inFeatures(config) * outFeatures(config));
  return {
    parameters: parameterCount(config),
    linearWeights: layers * sum(ofLayer),
    layers,
    hidden,
    loraPerRank: loraPerRank(config, targetNames(config)),
  };
}

/** A model as far as a plan needs it. */
export interface ModelShape {
  readonly size: ModelSize;
  readonly config: DecoderConfig;
  /** The model's parameters, as a multiple of the configuration's. */
  readonly scale: number;
}

/** Returns the shape of a configured model. */
export function shapeOfConfig(config: DecoderConfig): ModelShape {
  return { size: sizeOfConfig(config), config, scale: 1 };
}

/** Known models: layers, hidden size, feed-forward size, heads, key and value heads, vocabulary, tied embeddings. */
const KNOWN_SHAPES = [
  [30, 576, 1536, 9, 3, 49_152, true], // SmolLM2-135M
  [32, 960, 2560, 15, 5, 49_152, true],
  [24, 896, 4864, 14, 2, 151_936, true],
  [16, 2048, 8192, 32, 8, 128_256, true],
  [28, 3072, 8192, 24, 8, 128_256, true],
  [32, 4096, 11_008, 32, 32, 32_000, false], // Llama 2 7B
  [32, 4096, 14_336, 32, 8, 128_256, false],
  [40, 5120, 13_824, 40, 40, 32_000, false],
  [64, 5120, 27_648, 40, 8, 152_064, false],
  [80, 8192, 28_672, 64, 8, 32_000, false], // Llama 2 70B
] as const;

/** A size says nothing about positions, so rows of any length are planned. */
const MAX_POSITIONS = 1_048_576;

/** Scales the nearest known shape to a size such as `7B` or `135M`. @throws UsageError if the text is not a size */
export function shapeOfText(text: string): ModelShape {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)([MBT])$/i.exec(text);
  if (!match) throw new UsageError('--size: must be a number of parameters such as 135M or 7B');
  const unit = { M: 1e6, B: 1e9, T: 1e12 }[match[2]!.toUpperCase() as 'M' | 'B' | 'T'];
  const parameters = Number(match[1]) * unit;
  const distance = ({ size }: ModelShape) => Math.abs(Math.log(size.parameters / parameters));
  const { size, config } = KNOWN_SHAPES.map(knownShape).reduce((a, b) =>
    distance(b) < distance(a) ? b : a,
  );
  const scale = parameters / size.parameters;
  const linearWeights = size.linearWeights * scale;
  const loraPerRank = size.loraPerRank * Math.sqrt(scale);
  return { size: { ...size, parameters, linearWeights, loraPerRank }, config, scale };
}

function knownShape([
  num_hidden_layers,
  hidden_size,
  intermediate_size,
  num_attention_heads,
  num_key_value_heads,
  vocab_size,
  tie_word_embeddings,
]: (typeof KNOWN_SHAPES)[number]): ModelShape {
  return shapeOfConfig(
    parseDecoderConfig({
      ...{ model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5 },
      ...{ num_hidden_layers, hidden_size, intermediate_size, vocab_size, tie_word_embeddings },
      ...{ num_attention_heads, num_key_value_heads, max_position_embeddings: MAX_POSITIONS },
    }),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
