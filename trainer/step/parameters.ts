// The trained tensors, each with the buffer that accumulates its gradient.
import { assert } from '../../src/common/assert.ts';
import { FileError } from '../../src/common/errors.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { type AdapterTensor, adapterTensors } from '../adapter/tensors.ts';
import type { LoraSettings, Parameter } from '../types.ts';
import type { BaseWeights } from './base-weights.ts';

/** A trained tensor, as the optimizer and as the graphs see it. */
export interface TrainedTensor {
  readonly parameter: Parameter;
  readonly value: OrtTensor<'float32'>;
  readonly grad: OrtTensor<'float32'>;
}

/** Trained tensors by the name of the graphs' input, in the model's order. */
export type TrainedTensors = ReadonlyMap<string, TrainedTensor>;

type Floats = Float32Array<ArrayBuffer>;

/** Returns every weight of the model, embeddings included. A tied head is not a parameter of its own. */
export function fullParameters(config: DecoderConfig, base: BaseWeights): TrainedTensors {
  const trained = new Map<string, TrainedTensor>();
  for (const name of expectedTensors(config).keys()) {
    const value = base.dense(name);
    assert(value, `full training needs ${name} unquantized`);
    const decays = value.shape.length > 1; // it does not apply to norms and biases
    trained.set(name, trainedTensor({ name, decays }, value));
  }
  return trained;
}

/**
 * Returns the tensors of an adapter with their initial values. @throws FileError if these do not fit
 * @param base gives the initial values that the settings do not have
 */
export function adapterParameters(
  { config, base }: { readonly config: DecoderConfig; readonly base: BaseWeights },
  settings: LoraSettings,
): TrainedTensors {
  return new Map(
    adapterTensors(config, settings).map((row) => {
      const neutral = neutralValues(base, row);
      const values = initialValues(row, settings.init.get(row.name), neutral);
      const { name, decays, scaling } = row;
      const value = hostTensor('float32', row.shape, values);
      return [row.input, trainedTensor({ name, decays, scaling, neutral }, value)];
    }),
  );
}

/** Returns the values with which a tensor changes nothing; undefined for zeros. */
function neutralValues(base: BaseWeights, { input, neutral }: AdapterTensor): Floats | undefined {
  return neutral === 'zeros' ? undefined : base.dense(input)!.data;
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

/** Returns the bytes of the trained tensors' gradients and of the optimizer's two moments. */
export function trainingBytes(trained: TrainedTensors): number {
  const values = Array.from(trained.values(), ({ value }) => value.data.byteLength);
  return 3 * values.reduce((sum, bytes) => sum + bytes, 0);
}

function trainedTensor(
  properties: Pick<Parameter, 'name' | 'decays' | 'scaling' | 'neutral'>,
  value: OrtTensor<'float32'>,
): TrainedTensor {
  const { shape } = value;
  const grad = hostTensor('float32', shape);
  return { parameter: { ...properties, shape, data: value.data, grad: grad.data }, value, grad };
}
