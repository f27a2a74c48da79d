// Models that train next to torch: the same weights on both sides, and the comparison of their steps.
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { memorySource, writeSafetensors } from '../../src/formats/safetensors.ts';
import { type Artifact, denseValues, readArtifact, readLinear } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { expectedTensors, weightName } from '../../src/model/names.ts';
import { linearsOf, moduleName } from '../../src/model/target-modules.ts';
import { planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import type { Parameter, TrainModel } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, temporaryFolder } from '../fixtures.ts';
import { trainModel } from '../trainer/tiny-training.ts';

/** The largest difference of losses, gradients and adapters. */
export const LIMIT = 1e-4;
/** The learning rate of both sides. */
export const RATE = 1e-3;
/**
 * AdamW divides a gradient by its own size, so a tiny gradient moves its weight about as far as any other. Below this share of its
 * tensor's root mean square, a gradient is what rounding leaves of a sum that cancels: DPO on NF4 has one that is -3e-8 here and
 * -4e-7 in torch, next to others of 2e-4. Its weight then differs by 2e-4, with `robust`, where the signs differ, by 1e-3.
 */
const ROUNDING_SHARE = 1e-3;
/** The largest share of an adapter's weights that once had such a gradient. They are not compared after the last step. */
const MAX_UNCOMPARED = 0.01;

export const QUANTIZATIONS = ['none', 'nf4'] as const;
type Quantization = (typeof QUANTIZATIONS)[number];

/**
 * Imports a checkpoint. Returns it with the checkpoint for torch, which has the dequantized weights, because bitsandbytes computes
 * in 16 bits.
 */
export async function importPeers(
  t: TestContext,
  source: string,
  quantization: Quantization,
): Promise<{ readonly artifact: Artifact; readonly model: string }> {
  const dir = path.join(temporaryFolder(t), 'artifact');
  await importModel(source, dir, { quantization, doubleQuantization: true });
  const artifact = readArtifact(dir);
  t.after(() => artifact.tensors.close());
  const isPlain = quantization === 'none';
  const model = isPlain ? source : await writeDense(artifact, source, temporaryFolder(t));
  return { artifact, model };
}

/** Creates the model in training, with the adapter that torch started from in `folder`. */
export async function createPeer(
  t: TestContext,
  artifact: Artifact,
  { quantization, folder }: { readonly quantization: Quantization; readonly folder: string },
): Promise<TrainModel> {
  const initAdapter = path.join(folder, 'initial');
  const { lora } = await planAdapter(parseJob({ model: 'm', data: 'd', initAdapter }), artifact);
  const method = quantization === 'nf4' ? 'qlora' : 'lora';
  return trainModel(t, { artifact }, { method, adapter: lora });
}

/**
 * Takes steps, and compares the first gradients and the last adapter with torch's in `folder`.
 * @param accumulate adds the gradients of a step, and returns the number by which they are divided
 */
export async function compareSteps(
  { parameters }: TrainModel,
  { steps, folder }: { readonly steps: number; readonly folder: string },
  accumulate: (step: number) => Promise<number>,
): Promise<void> {
  const optimizer = createAdamW(parameters, { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 });
  const rounded = new Map(parameters.map(({ name }) => [name, new Set<number>()]));
  for (let step = 0; step < steps; step++) {
    for (const { grad } of parameters) grad.fill(0);
    const divisor = await accumulate(step);
    if (step === 0) {
      const file = path.join(folder, 'grads.safetensors');
      compareTensors(parameters, file, ({ grad }) => grad.map((value) => value / divisor));
    }
    for (const { name, grad } of parameters) addRounded(rounded.get(name)!, grad);
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / divisor;
    optimizer.step(step + 1, RATE, clipFactor(norm, 1) / divisor);
  }
  const file = path.join(folder, 'final', 'adapter_model.safetensors');
  const expected = readTensors(file);
  compareTensors(parameters, file, ({ name, data }) => {
    const theirs = toFloat32(expected.get(name)!);
    return data.map((value, i) => (rounded.get(name)!.has(i) ? theirs[i]! : value));
  });
  const count = (sizes: readonly number[]) => sizes.reduce((sum, size) => sum + size, 0);
  const uncompared = count([...rounded.values()].map(({ size }) => size));
  const all = count(parameters.map(({ data }) => data.length));
  assert.ok(uncompared < MAX_UNCOMPARED * all, `${uncompared} of ${all} weights are not compared`);
}

/** Adds the indices of gradients that are rounding errors. The gradients of A are 0 while B is, which is exact. */
function addRounded(indices: Set<number>, grad: Float32Array): void {
  const bound = (ROUNDING_SHARE * globalNorm([grad])) / Math.sqrt(grad.length);
  for (const [i, value] of grad.entries()) if (Math.abs(value) < bound) indices.add(i);
}

function compareTensors(
  parameters: readonly Parameter[],
  file: string,
  valuesOf: (parameter: Parameter) => Float32Array,
): void {
  const expected = readTensors(file);
  assert.equal(expected.size, parameters.length);
  for (const parameter of parameters) {
    const { name } = parameter;
    const worst = worstDifference(valuesOf(parameter), toFloat32(expected.get(name)!));
    assert.ok(worst < LIMIT, `${path.basename(file)}, ${name}: off by ${worst}`);
  }
}

/** Writes the artifact's weights, with the config of its source, into a folder. Returns the folder. */
async function writeDense(artifact: Artifact, source: string, folder: string): Promise<string> {
  const { config, tensors } = artifact;
  const modules = new Map(
    linearsOf(config).map(([layer, of]) => [weightName(layer, of), moduleName(layer, of)]),
  );
  const dense = new Map<string, Tensor>();
  for (const [name, shape] of expectedTensors(config)) {
    const module = modules.get(name);
    const values = module
      ? denseValues(readLinear(artifact, module))
      : toFloat32(tensors.read(name));
    dense.set(name, fromFloat32(values, shape, 'F32'));
  }
  cpSync(path.join(source, 'config.json'), path.join(folder, 'config.json'));
  const metadata = { format: 'pt' };
  await writeSafetensors(path.join(folder, 'model.safetensors'), memorySource(dense), { metadata });
  return folder;
}
