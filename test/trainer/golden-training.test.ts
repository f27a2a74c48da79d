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
import type { Example } from '../../trainer/data/example.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { withoutAdapter } from '../../trainer/evaluation/losses.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import { createObjective } from '../../trainer/run/objective.ts';
import type { LoraSettings, MicroBatch, TrainMethod, TrainModel } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { trainModel } from './tiny-training.ts';

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

test('DPO: log-probabilities, loss and gradients are those of the reference', {
  skip,
}, async (t) => {
  const folder = path.join(golden!, 'train', 'dpo');
  const expected = readJson(folder, 'dpo.json') as {
    beta: number;
    loss: number;
    accuracy: number;
  } & Record<`reference_${'chosen' | 'rejected'}_logps`, number[]>;
  const adapter = await readAdapter(path.join(folder, 'initial'));
  const model = await openModel(t, { method: 'lora', quantization: 'none', adapter });
  const train = describeExamples(readPairs(path.join(folder, 'batch.safetensors')), 0);
  const options = { train, validation: undefined, batchSize: 4, classifies: false };
  const preference = { loss: 'sigmoid', beta: expected.beta, labelSmoothing: 0 } as const;
  const objective = createObjective({ model, ...options, preference });
  await withoutAdapter(model.parameters, () => objective.prepare!()); // B does not start at 0
  const [reference] = objective.saved;
  for (const [pair, chosen] of expected.reference_chosen_logps.entries()) {
    const sums = [chosen, expected.reference_rejected_logps[pair]!];
    const own = reference!.data.subarray(2 * pair, 2 * pair + 2);
    assert.ok(
      worstDifference(own, Float32Array.from(sums)) < 2e-4,
      `pair ${pair}: ${own}, ${sums}`,
    );
  }
  const { loss, weight, hits } = await objective.accumulate(train.examples.map((_, i) => [i]));
  assert.ok(Math.abs(loss / weight - expected.loss) < 1e-5, `${loss / weight}, ${expected.loss}`);
  assert.equal(hits / weight, expected.accuracy);
  const gradients = readTensors(path.join(folder, 'grads.safetensors'));
  assert.equal(gradients.size, model.parameters.length);
  for (const { name, grad } of model.parameters) {
    const mean = grad.map((g) => g / weight);
    const difference = worstDifference(mean, toFloat32(gradients.get(name)!));
    assert.ok(difference < 3e-5, `${name}: gradient off by ${difference}`);
  }
});

/** Pairs of [count, length] padded rows. */
function readPairs(file: string): Example[] {
  const tensors = readTensors(file);
  const rows = (name: string) => {
    const { shape, data } = tensors.get(name)!;
    const values = Array.from(new BigInt64Array(new Uint8Array(data).buffer), Number);
    const [count, length] = shape as [number, number];
    return Array.from({ length: count }, (_, i) => values.slice(i * length, (i + 1) * length));
  };
  const side = (name: string): Example[] => {
    const [ids, labels, mask] = ['input_ids', 'labels', 'attention_mask'].map((part) =>
      rows(`${name}_${part}`),
    );
    return ids!.map((row, i) => {
      const length = mask![i]!.reduce((sum, seen) => sum + seen, 0);
      const own = labels![i]!.slice(0, length).map((label) => Math.max(label, -1));
      const weights = undefined;
      return { ids: Int32Array.from(row.slice(0, length)), labels: Int32Array.from(own), weights };
    });
  };
  const rejected = side('rejected');
  return side('chosen').map((chosen, i) => ({ ...chosen, rejected: rejected[i]! }));
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
  return trainModel(t, { artifact }, { method, adapter });
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
