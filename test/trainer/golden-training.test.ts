// peft's and transformers' own training runs: losses, gradient norms, first gradients and final weights of thirty steps.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseAdapterConfig } from '../../adapters/peft/peft-config.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { moduleName, TARGETS_OF } from '../../src/model/target-modules.ts';
import { createTrainModel } from '../../trainer/model.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import type { LoraSettings, MicroBatch, TrainMethod, TrainModel } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const golden = sharedPath('golden');
const skip = skipUnless(golden);

const CASES = {
  'lora-qv': { method: 'lora', quantization: 'none' },
  'qlora-all': { method: 'qlora', quantization: 'nf4' },
  rslora: { method: 'lora', quantization: 'none' },
  full: { method: 'full', quantization: 'none' },
} as const satisfies Record<string, { method: TrainMethod; quantization: 'none' | 'nf4' }>;

interface Log {
  settings: {
    steps: number;
    betas: [number, number];
    eps: number;
    weight_decay: number;
    max_grad_norm: number;
  };
  decayed: string[];
  log: { loss: number; grad_norm: number; lr: number; num_items: number }[];
}

for (const [name, { method, quantization }] of Object.entries(CASES)) {
  test(`${name}: thirty steps are those of the reference`, { skip }, async (t) => {
    const folder = path.join(golden!, 'train', name);
    const { settings, decayed, log } = readJson(folder, 'log.json') as Log;
    const adapter = method === 'full' ? undefined : await readAdapter(path.join(folder, 'initial'));
    const model = await openModel(t, { method, quantization, adapter });
    const { parameters } = model;
    assert.deepEqual(
      parameters
        .filter(({ decays }) => decays)
        .map((p) => p.name)
        .sort(),
      [...decayed].sort(),
    );
    const optimizer = createAdamW(parameters, {
      betas: settings.betas,
      epsilon: settings.eps,
      weightDecay: settings.weight_decay,
    });
    const batches = readBatches();
    const firstGradients = readTensors(path.join(folder, 'grads.safetensors'));
    for (const [step, expected] of log.entries()) {
      for (const { grad } of parameters) grad.fill(0);
      const sums = [];
      for (const batch of batches.slice(2 * step, 2 * step + 2)) {
        sums.push(await model.accumulate(batch));
      }
      const count = sums.reduce((sum, s) => sum + s.weight, 0);
      assert.equal(count, expected.num_items);
      const loss = sums.reduce((sum, s) => sum + s.loss, 0) / count;
      assert.ok(Math.abs(loss - expected.loss) < 1e-4, `step ${step}: ${loss}, ${expected.loss}`);
      for (const { grad } of parameters) grad.set(grad.map((g) => g / count));
      const norm = globalNorm(parameters.map(({ grad }) => grad));
      assert.ok(Math.abs(norm / expected.grad_norm - 1) < 1e-4, `step ${step}: norm ${norm}`);
      if (step === 0) {
        for (const { name, grad } of parameters) {
          const difference = worstDifference(grad, toFloat32(firstGradients.get(name)!));
          assert.ok(difference < 3e-5, `${name}: gradient off by ${difference}`);
        }
      }
      optimizer.step(step + 1, expected.lr, clipFactor(norm, settings.max_grad_norm));
    }
    const final =
      method === 'full'
        ? readTensors(path.join(folder, 'final-some.safetensors'))
        : readTensors(path.join(folder, 'final', 'adapter_model.safetensors'));
    for (const [name, tensor] of final) {
      const { data } = parameters.find((p) => p.name === name)!;
      const difference = worstDifference(data, toFloat32(tensor));
      assert.ok(difference < 2e-4, `${name}: final weights off by ${difference}`);
    }
  });
}

async function openModel(
  t: TestContext,
  options: {
    method: TrainMethod;
    quantization: 'none' | 'nf4';
    adapter: LoraSettings | undefined;
  },
): Promise<TrainModel> {
  const { method, quantization, adapter } = options;
  const dir = path.join(temporaryFolder(t), 'artifact');
  const source = path.join(golden!, 'models', 'llama-tied');
  await importModel(source, dir, { quantization, doubleQuantization: true });
  const artifact = readArtifact(dir);
  t.after(() => artifact.tensors.close());
  const model = createTrainModel(artifact, {
    ...{ method, adapter, dropout: 0, compute: 'float32', recompute: true, blocksPerSegment: 1 },
    ...{ threads: 1, seed: 0 },
  });
  t.after(() => model.release());
  return model;
}

async function readAdapter(folder: string): Promise<LoraSettings> {
  const names = [0, 1].flatMap((layer) =>
    TARGETS_OF.separate.map((target) => moduleName(layer, target)),
  );
  const bytes = readFileSync(path.join(folder, 'adapter_config.json'));
  const config = await parseAdapterConfig(bytes, names);
  const modules = new Map<string, { rank: number; scaling: number }>();
  for (const name of names) {
    if (config.isTargeted(name)) modules.set(name, config.settingOf(name));
  }
  return { modules, init: readTensors(path.join(folder, 'adapter_model.safetensors')) };
}

/** 60 micro-batches of 3 rows x 24 positions; labels are unshifted, -100 where nothing counts. */
function readBatches(): MicroBatch[] {
  const tensors = readTensors(path.join(golden!, 'train', 'batches.safetensors'));
  const [count, rows, length] = tensors.get('labels')!.shape as [number, number, number];
  const size = rows * length;
  const ints = (name: string) =>
    Int32Array.from(new BigInt64Array(new Uint8Array(tensors.get(name)!.data).buffer), Number);
  const [ids, labels, mask] = ['input_ids', 'labels', 'attention_mask'].map(ints);
  return Array.from({ length: count }, (_, batch) => {
    const part = (values: Int32Array) => values.subarray(batch * size, (batch + 1) * size);
    const batchLabels = part(labels!);
    const targets = Int32Array.from({ length: size }, (_, i) =>
      i % length === length - 1 ? -1 : Math.max(-1, batchLabels[i + 1]!),
    );
    return {
      rows,
      length,
      inputIds: part(ids!).slice(),
      positions: Int32Array.from({ length: size }, (_, i) => i % length),
      segments: part(mask!).map((seen) => seen - 1),
      targets,
      weights: Float32Array.from(targets, (target) => (target >= 0 ? 1 : 0)),
    };
  });
}

function readJson(folder: string, file: string): unknown {
  return JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
}
