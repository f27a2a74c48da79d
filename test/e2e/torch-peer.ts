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
  for (let step = 0; step < steps; step++) {
    for (const { grad } of parameters) grad.fill(0);
    const divisor = await accumulate(step);
    if (step === 0) {
      const file = path.join(folder, 'grads.safetensors');
      compareTensors(parameters, file, ({ grad }) => grad.map((value) => value / divisor));
    }
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / divisor;
    optimizer.step(step + 1, RATE, clipFactor(norm, 1) / divisor);
  }
  const file = path.join(folder, 'final', 'adapter_model.safetensors');
  compareTensors(parameters, file, ({ data }) => data);
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
