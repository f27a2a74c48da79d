// Computes a model's size from its configuration, or estimates it from a number of parameters.
import { UsageError } from '../../src/common/errors.ts';
import { elementCount } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
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
    parameters: sum([...expectedTensors(config).values()].map(elementCount)),
    linearWeights: layers * sum(ofLayer),
    layers,
    hidden,
    loraPerRank: loraPerRank(config, targetNames(config)),
  };
}

/** Shapes of known models: layers, hidden, feed-forward, key and value width, vocabulary (embedding and output head). */
const KNOWN_SHAPES: readonly (readonly [number, number, number, number, number])[] = [
  [30, 576, 1536, 192, 49_152 / 2], // SmolLM2-135M. Models below 3B are tied: they have one table
  [32, 960, 2560, 320, 49_152 / 2],
  [24, 896, 4864, 128, 151_936 / 2],
  [16, 2048, 8192, 512, 128_256 / 2],
  [28, 3072, 8192, 1024, 128_256 / 2],
  [32, 4096, 11_008, 4096, 32_000], // Llama 2 7B
  [32, 4096, 14_336, 1024, 128_256],
  [40, 5120, 13_824, 5120, 32_000],
  [64, 5120, 27_648, 1024, 152_064],
  [80, 8192, 28_672, 1024, 32_000], // Llama 2 70B
];

/** Scales the nearest known shape to a size such as `7B` or `135M`. @throws UsageError if the text is not a size */
export function sizeOfText(text: string): ModelSize {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)([MBT])$/i.exec(text);
  if (!match) throw new UsageError('--size: must be a number of parameters such as 135M or 7B');
  const scale = { M: 1e6, B: 1e9, T: 1e12 }[match[2]!.toUpperCase() as 'M' | 'B' | 'T'];
  const parameters = Number(match[1]) * scale;
  const distance = (size: ModelSize) => Math.abs(Math.log(size.parameters / parameters));
  const nearest = KNOWN_SHAPES.map(sizeOfShape).reduce((a, b) =>
    distance(b) < distance(a) ? b : a,
  );
  const ratio = parameters / nearest.parameters;
  return {
    ...nearest,
    parameters,
    linearWeights: nearest.linearWeights * ratio,
    loraPerRank: nearest.loraPerRank * Math.sqrt(ratio),
  };
}

function sizeOfShape([layers, hidden, ffn, kv, vocabulary]: (typeof KNOWN_SHAPES)[number]) {
  const linearWeights = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ffn);
  return {
    parameters: linearWeights + 2 * vocabulary * hidden,
    linearWeights,
    layers,
    hidden,
    loraPerRank: layers * (4 * hidden + 2 * (hidden + kv) + 3 * (hidden + ffn)),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
