// The trained tensors, each with the buffer that accumulates its gradient.
import { assert } from '../../src/common/assert.ts';
import { FileError } from '../../src/common/errors.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors, loraNames } from '../../src/model/names.ts';
import { moduleName, TARGET_MODULES, TARGET_NAMES } from '../../src/model/target-modules.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import type { BlockAdapter } from '../graph/training-lowering.ts';
import type { LoraSettings, Parameter } from '../types.ts';
import type { BaseWeights } from './base-weights.ts';

/** A trained tensor, as the optimizer and as the graphs see it. */
export interface TrainedTensor {
  readonly parameter: Parameter;
  readonly value: OrtTensor<'float32'>;
  readonly grad: OrtTensor<'float32'>;
}

/** Trained tensors by the parameter's name, in the model's order. */
export type TrainedTensors = ReadonlyMap<string, TrainedTensor>;

/** Returns every weight of the model, embeddings included. A tied head is not a parameter of its own. */
export function fullParameters(config: DecoderConfig, base: BaseWeights): TrainedTensors {
  const trained = new Map<string, TrainedTensor>();
  for (const name of expectedTensors(config).keys()) {
    const value = base.dense(name);
    assert(value, `full training needs ${name} unquantized`);
    const isVector = value.shape.length === 1; // norms and biases
    trained.set(name, trainedTensor(name, value, !isVector));
  }
  return trained;
}

/** Returns A and B of every adapted module with their initial values. @throws FileError if these do not fit */
export function loraParameters(config: DecoderConfig, settings: LoraSettings): TrainedTensors {
  const trained = new Map<string, TrainedTensor>();
  const add = (name: string, shape: readonly [number, number]) => {
    const first = settings.init.get(name);
    if (!first) throw new FileError(name, 'is missing');
    trained.set(
      name,
      trainedTensor(name, hostTensor('float32', shape, valuesOf(name, first, shape)), true),
    );
  };
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const [target, { rank }] of blockAdapter(settings, layer)) {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      const names = loraNames(moduleName(layer, target));
      add(names.a, [rank, inFeatures(config)]);
      add(names.b, [outFeatures(config), rank]);
    }
  }
  return trained;
}

/** Returns the bytes of the trained tensors' gradients and of the optimizer's two moments. */
export function trainingBytes(trained: TrainedTensors): number {
  const values = Array.from(trained.values(), ({ value }) => value.data.byteLength);
  return 3 * values.reduce((sum, bytes) => sum + bytes, 0);
}

/** Returns the adapted linears of a layer, in the order in which a block uses them. */
export function blockAdapter({ modules }: LoraSettings, layer: number): BlockAdapter {
  return new Map(
    TARGET_NAMES.flatMap((target) => {
      const module = modules.get(moduleName(layer, target));
      return module ? [[target, module] as const] : [];
    }),
  );
}

function trainedTensor(name: string, value: OrtTensor<'float32'>, decays: boolean): TrainedTensor {
  const { shape } = value;
  const grad = hostTensor('float32', shape);
  const parameter = { name, shape, data: value.data, grad: grad.data, decays };
  return { parameter, value, grad };
}

function valuesOf(
  name: string,
  tensor: Tensor,
  shape: readonly number[],
): Float32Array<ArrayBuffer> {
  if (tensor.shape.join() !== shape.join()) {
    throw new FileError(name, `shape [${tensor.shape}] is not [${shape}]`);
  }
  return toFloat32(tensor) as Float32Array<ArrayBuffer>;
}
