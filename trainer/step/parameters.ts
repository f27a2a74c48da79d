// The trained tensors, each with a buffer for its accumulated gradient.
import { assert } from '../../src/common/assert.ts';
import { FileError } from '../../src/common/errors.ts';
import { type Matrix, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { type Factors, principalFactors } from '../adapter/principal.ts';
import { type AdapterTensor, adapterTensors } from '../adapter/tensors.ts';
import type { LoraSettings, Parameter } from '../types.ts';
import type { BaseWeights } from './base-weights.ts';

/** A trained tensor, as the optimizer and the graphs see it. */
export interface TrainedTensor {
  readonly parameter: Parameter;
  readonly value: OrtTensor<'float32'>;
  readonly grad: OrtTensor<'float32'>;
  /** For PiSSA: the neutral values. */
  readonly start?: OrtTensor<'float32'>;
}

/** Trained tensors by graph input, in the model's order. */
export type TrainedTensors = ReadonlyMap<string, TrainedTensor>;

type Floats = Float32Array<ArrayBuffer>;

/** Returns every weight of the model, embeddings included. A tied output head adds no parameter. */
export function fullParameters(config: DecoderConfig, base: BaseWeights): TrainedTensors {
  const trained = new Map<string, TrainedTensor>();
  for (const name of expectedTensors(config).keys()) {
    const value = base.dense(name);
    assert(value, `full training needs ${name} unquantized`);
    const decays = value.shape.length > 1; // weight decay does not apply to norms and biases
    trained.set(name, trainedTensor({ name, decays }, value));
  }
  return trained;
}

/**
 * Returns an adapter's tensors with their initial values. @throws FileError if these do not fit
 * @param base provides the initial values that the settings leave out
 */
export function adapterParameters(
  { artifact, base }: AdaptedWeights,
  settings: LoraSettings,
): TrainedTensors {
  const neutralOf = neutralReader({ artifact, base }, settings);
  return new Map(
    adapterTensors(artifact.config, settings).map((row) => {
      const neutral = neutralOf(row);
      const { name, shape, decays, scaling } = row;
      const first = initialValues(row, settings.init.get(name), neutral);
      const value = hostTensor('float32', shape, first);
      if (row.neutral.kind !== 'principal') {
        return [row.input, trainedTensor({ name, decays, scaling, neutral }, value)];
      }
      const properties = { name, decays, scaling, neutral, startedAs: row.neutral.factor };
      const start = hostTensor('float32', shape, neutral!);
      return [row.input, { ...trainedTensor(properties, value), start }];
    }),
  );
}

/** The base of an adapter, on disk and in memory. */
interface AdaptedWeights {
  readonly artifact: Artifact;
  readonly base: BaseWeights;
}

/** Returns a function that gives a tensor's neutral values, at which it changes nothing; undefined for zeros. */
function neutralReader({ artifact, base }: AdaptedWeights, { modules }: LoraSettings) {
  let principal: { readonly module: string; readonly factors: Factors } | undefined;
  return ({ input, neutral }: AdapterTensor): Floats | undefined => {
    switch (neutral.kind) {
      case 'zeros':
        return undefined;
      case 'base':
        return base.dense(input)!.data;
      case 'norms': {
        const linear = readLinear(artifact, neutral.module);
        return normsOfRows({ ...linear, values: denseValues(linear) });
      }
      case 'principal': {
        const { module, factor } = neutral;
        if (principal?.module !== module) {
          const linear = readLinear(artifact, module);
          const weight = { ...linear, values: denseValues(linear) };
          principal = { module, factors: principalFactors(weight, modules.get(module)!) };
        }
        return principal.factors[factor];
      }
    }
  };
}

/** Returns the norm of each row: [rows]. Sums are in float64. */
function normsOfRows({ values, rows, cols }: Matrix): Floats {
  return new Float32Array(rows).map((_, row) => {
    let sum = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) sum += values[i]! * values[i]!;
    return Math.sqrt(sum);
  });
}

function initialValues(
  { name, shape }: AdapterTensor,
  first: Tensor | undefined,
  neutral: Floats | undefined,
): Floats {
  if (!first && neutral) return neutral.slice();
  if (!first) throw new FileError(name, 'is missing');
  if (first.shape.join() === shape.join()) return toFloat32(first) as Floats;
  throw new FileError(name, `shape [${first.shape}] is not [${shape}]`);
}

/** Returns the bytes for the gradients of the trained tensors and for the optimizer's two moments. */
export function trainingBytes(trained: TrainedTensors): number {
  const values = Array.from(trained.values(), ({ value }) => value.data.byteLength);
  return 3 * values.reduce((sum, bytes) => sum + bytes, 0);
}

function trainedTensor(
  properties: Pick<Parameter, 'name' | 'decays' | 'scaling' | 'neutral' | 'startedAs'>,
  value: OrtTensor<'float32'>,
): TrainedTensor {
  const { shape } = value;
  const grad = hostTensor('float32', shape);
  return { parameter: { ...properties, shape, data: value.data, grad: grad.data }, value, grad };
}
