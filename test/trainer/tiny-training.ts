// A tiny model in training, its batches and its adapters, all from seeds.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loraNames } from '../../src/model/names.ts';
import {
  moduleName,
  TARGET_MODULES,
  type TargetName,
  targetNames,
} from '../../src/model/target-modules.ts';
import { createTrainModel, type TrainModelOptions } from '../../trainer/model.ts';
import type { LoraSettings, LossSums, MicroBatch } from '../../trainer/types.ts';
import { seededRandom, type TinyModel } from '../fixtures.ts';

export function trainModel(
  t: TestContext,
  { artifact }: Pick<TinyModel, 'artifact'>,
  options: Partial<TrainModelOptions> = {},
) {
  const model = createTrainModel(artifact, {
    method: options.adapter ? 'lora' : 'full',
    adapter: undefined,
    ...{
      dropout: 0,
      compute: 'float32',
      recompute: true,
      blocksPerSegment: 1,
      threads: 1,
      seed: 5,
    },
    ...options,
  });
  t.after(() => model.release());
  return model;
}

/** An adapter with visible weights in A and in B; the targets of a layer by a function. */
export function lora(
  config: DecoderConfig,
  targetsOf: (layer: number) => readonly TargetName[] = () => targetNames(config),
): LoraSettings {
  const random = seededRandom(3);
  const modules = new Map<string, { rank: number; scaling: number }>();
  const init = new Map<string, Tensor>();
  const fill = (name: string, shape: [number, number]) => {
    const values = new Float32Array(shape[0] * shape[1]).map(() => 0.2 * random());
    init.set(name, fromFloat32(values, shape, 'F32'));
  };
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const target of targetsOf(layer)) {
      const { inFeatures, outFeatures } = TARGET_MODULES[target];
      const rank = target === 'down_proj' ? 3 : 4;
      const module = moduleName(layer, target);
      modules.set(module, { rank, scaling: target === 'q_proj' ? 1.5 : 2 });
      const { a, b } = loraNames(module);
      fill(a, [rank, inFeatures(config)]);
      fill(b, [outFeatures(config), rank]);
    }
  }
  return { modules, init };
}

/** Examples of these lengths, one a row, padded to the longest; every fourth target does not count. */
export function batchOf(config: DecoderConfig, lengths: readonly number[], seed = 1): MicroBatch {
  return padRows(examples(config, lengths, seed).map((example) => [example]));
}

export interface Example {
  readonly ids: readonly number[];
  readonly targets: readonly number[];
  readonly weights: readonly number[];
}

export function examples(config: DecoderConfig, lengths: readonly number[], seed = 1): Example[] {
  const random = seededRandom(seed);
  const draw = () => Math.floor(((random() + 1) / 2) * config.vocabSize);
  return lengths.map((length) => {
    const ids = Array.from({ length }, draw);
    const targets = ids.map((_, i) => (i + 1 < length && i % 4 !== 3 ? ids[i + 1]! : -1));
    return { ids, targets, weights: ids.map((_, i) => (i % 3 === 0 ? 0.5 : 1)) };
  });
}

/** A micro-batch whose rows hold these examples one after the other. */
export function padRows(packed: readonly (readonly Example[])[]): MicroBatch {
  const length = Math.max(...packed.map((row) => row.reduce((sum, e) => sum + e.ids.length, 0)));
  const size = packed.length * length;
  const batch = {
    rows: packed.length,
    length,
    inputIds: new Int32Array(size),
    positions: new Int32Array(size),
    segments: new Int32Array(size).fill(-1),
    targets: new Int32Array(size).fill(-1),
    weights: new Float32Array(size),
  };
  for (const [row, rowExamples] of packed.entries()) {
    let at = row * length;
    for (const [segment, { ids, targets, weights }] of rowExamples.entries()) {
      for (let i = 0; i < ids.length; i++, at++) {
        batch.inputIds[at] = ids[i]!;
        batch.positions[at] = i;
        batch.segments[at] = segment;
        batch.targets[at] = targets[i]!;
        batch.weights[at] = weights[i]!;
      }
    }
  }
  return batch;
}

type Model = ReturnType<typeof trainModel>;

/** The summed loss and the gradients of some micro-batches, from zero. */
export async function gradientsOf(
  model: Model,
  batches: readonly MicroBatch[],
): Promise<{ sums: LossSums; gradients: ReadonlyMap<string, Float32Array> }> {
  for (const { grad } of model.parameters) grad.fill(0);
  const sums = { loss: 0, weight: 0, count: 0, hits: 0 };
  for (const batch of batches) {
    const { loss, weight, count, hits } = await model.accumulate(batch);
    sums.loss += loss;
    sums.weight += weight;
    sums.count += count;
    sums.hits += hits;
  }
  return {
    sums,
    gradients: new Map(model.parameters.map(({ name, grad }) => [name, grad.slice()])),
  };
}

/**
 * Compares the gradients of all parameters with differences of the loss, along one random direction each. `afterStep` may change
 * other parameters after a step of the named one.
 */
export async function checkGradients(
  model: Model,
  batch: MicroBatch,
  afterStep: (name: string) => void = () => {},
): Promise<void> {
  const { gradients } = await gradientsOf(model, [batch]);
  const random = seededRandom(8);
  for (const { name, data } of model.parameters) {
    const gradient = gradients.get(name)!;
    const direction = data.map(() => Math.sign(random()));
    const slope = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
    const original = data.slice();
    const lossAt = async (step: number) => {
      data.set(original.map((value, i) => value + step * direction[i]!));
      afterStep(name);
      return (await model.evaluate(batch)).loss;
    };
    const step = 1e-3;
    const numeric = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
    data.set(original);
    afterStep(name);
    const length = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
    const error = Math.abs(slope - numeric) / (length + 0.1);
    assert.ok(error < 2e-2, `${name}: ${slope}, by differences ${numeric} (length ${length})`);
  }
}
