// Reads the tensors that change a linear's outputs other than by an update: DoRA's magnitudes, and biases. Both become a factor
// and a bias per output.
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { MAX_LABELS } from '../../src/contracts/training-settings.ts';
import { outputVector, type VectorName } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { biasName, hasBias } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, type TargetName } from '../../src/model/target-modules.ts';
import { classNames } from './peft-config.ts';
import { invalidAdapter, MAX_WEIGHT, nonFinite } from './refusal.ts';
import type { AdapterConfig } from './tensor-names.ts';
import { CLASSIFIER_NAMES, presenceOf, tensorName } from './tensor-names.ts';
import { expectValues, type Tensors } from './tensors.ts';
import type { Classifier, LoraPair, PairSlice } from './weights.ts';

/** The sources of the reader. */
export interface OutputSource {
  readonly tensors: Tensors;
  readonly config: AdapterConfig;
  readonly model: DecoderConfig;
  /** Undefined: adapters with such tensors are refused. */
  readonly base: AdaptedBase | undefined;
}

/** Reads the changes of linears' outputs, one linear after the other. */
export class OutputReader {
  readonly #source: OutputSource;

  constructor(source: OutputSource) {
    this.#source = source;
  }

  /** Returns a linear's output vectors. DoRA's factors are also multiplied into B, which must have been read before. */
  async read(
    layer: number,
    target: TargetName,
    slice: PairSlice | undefined,
  ): Promise<[VectorName, Float32Array][]> {
    const { config, base } = this.#source;
    if (!base || !(config.isDora || config.hasUpdateBias || config.biases !== 'none')) return [];
    const scale = slice && config.isDora ? await this.#scale(layer, target, base) : undefined;
    if (scale && slice)
      multiplyRows(slice, config.settingOf(moduleName(layer, target)).rank, scale);
    const bias = await this.#bias(layer, target, { base, scale });
    const vectors: [VectorName, Float32Array][] = [];
    if (scale) vectors.push([outputVector('scale', layer, target), scale]);
    if (bias) vectors.push([outputVector('bias', layer, target), bias]);
    return vectors;
  }

  /** DoRA's factors minus one: the trained norm of each row of the weight, divided by the norm of W + B A. */
  async #scale(layer: number, target: TargetName, base: AdaptedBase): Promise<Float32Array> {
    const { tensors, config } = this.#source;
    const module = moduleName(layer, target);
    const { rank, scaling } = config.settingOf(module);
    const key = tensorName(module, 'magnitude');
    const magnitudes = this.#values(layer, target, 'magnitude');
    const a = toFloat32(tensors.get(tensorName(module, 'a'))!);
    const b = toFloat32(tensors.get(tensorName(module, 'b'))!).map((value) => value * scaling);
    const norms = await base.rowNorms(module, { rank, a, b });
    return magnitudes.map((magnitude, output) => {
      const norm = norms[output]!;
      // A trained row of zeros stays zero under any factor. Its factor would be 0 / 0.
      const factor = norm === 0 && magnitude === 0 ? 1 : magnitude / norm;
      if (!(Math.abs(factor) <= MAX_WEIGHT)) throw nonFinite(key, factor); // NaN fails too
      return factor - 1;
    });
  }

  /** Returns the biases to add. A factor must not scale the base's bias, so its effect on that bias is subtracted. */
  async #bias(
    layer: number,
    target: TargetName,
    { base, scale }: { base: AdaptedBase; scale: Float32Array | undefined },
  ): Promise<Float32Array | undefined> {
    const { tensors, config, model } = this.#source;
    const module = moduleName(layer, target);
    const sum = new Float32Array(TARGET_MODULES[target].outFeatures(model));
    let isChanged = false;
    const add = (value: (output: number) => number) => {
      isChanged = true;
      for (let output = 0; output < sum.length; output++) sum[output]! += value(output);
    };
    if (presenceOf('updateBias', module, config)) {
      const { scaling } = config.settingOf(module);
      const values = this.#values(layer, target, 'updateBias');
      add((output) => values[output]! * scaling);
    }
    if (!hasBias(model, target)) return isChanged ? sum : undefined;
    const own = await base.vector(biasName(layer, target));
    if (scale) add((output) => -scale[output]! * own[output]!);
    for (const tensor of ['bias', 'adaptedBias'] as const) {
      const presence = presenceOf(tensor, module, config);
      const isMissing = !tensors.has(tensorName(module, tensor));
      if (!presence || (presence === 'optional' && isMissing)) continue;
      const values = this.#values(layer, target, tensor);
      add((output) => values[output]! - own[output]!);
    }
    return isChanged ? sum : undefined;
  }

  #values(
    layer: number,
    target: TargetName,
    tensor: 'magnitude' | 'updateBias' | 'adaptedBias' | 'bias',
  ): Float32Array {
    const { tensors, model } = this.#source;
    const key = tensorName(moduleName(layer, target), tensor);
    return expectValues(tensors, key, [TARGET_MODULES[target].outFeatures(model)]);
  }
}

/** Multiplies the rows of B by the factors of their outputs. */
function multiplyRows({ pair, column }: PairSlice, rank: number, scale: Float32Array): void {
  const { length: width } = scale;
  const rows = pair.b.subarray(column * width, (column + rank) * width);
  for (let i = 0; i < rows.length; i++) rows[i]! *= 1 + scale[i % width]!;
}

// The head of an adapter that classifies sequences: a linear layer over the hidden state of the last token.

/**
 * Reads a classifier's head; undefined if the adapter is not a classifier. Throws `ServeError` (422) with the tensor as
 * `param`.
 */
export function readClassifier({
  tensors,
  config,
  model,
}: Omit<OutputSource, 'base'>): Classifier | undefined {
  if (!config.classifies) return undefined;
  const names = CLASSIFIER_NAMES.map((name) => tensorName(name, 'whole'));
  const [name, ...others] = names.filter((name) => tensors.has(name));
  if (name === undefined) throw invalidAdapter(names[0]!, 'is missing');
  if (others.length > 0) throw invalidAdapter(others[0]!, `is a second head after ${name}`);
  const [count = 0] = tensors.get(name)!.shape;
  if (count > MAX_LABELS)
    throw invalidAdapter(name, `has ${count} labels; the limit is ${MAX_LABELS}`);
  const weight = expectValues(tensors, name, [count, model.hiddenSize]);
  return { labels: classNames(count, config.labels), weight };
}

/** The weights of the base with the values that adapters are trained on: NF4 dequantized. */
export interface AdaptedBase {
  /**
   * Returns the norms [out] of the rows of W + B A for a linear such as `model.layers.0.self_attn.q_proj`. The update is A
   * [rank, in] and B [out, rank], as PEFT stores them.
   */
  rowNorms(module: string, update: LoraPair): Promise<Float32Array>;
  /** Returns a vector of the checkpoint, such as `model.layers.0.self_attn.q_proj.bias`. */
  vector(name: string): Promise<Float32Array>;
  /**
   * Returns a table of the checkpoint, [vocabulary, hidden], such as `model.embed_tokens.weight`. Absent: adapters with a
   * resized vocabulary are refused.
   */
  table?(name: string): Promise<Tensor>;
}
