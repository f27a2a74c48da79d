// DPO step by step next to TRL with peft: the same losses and first gradients, and the same adapters after five steps. The NF4 base is
// compared in its dequantized weights, because bitsandbytes computes in 16 bits.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { toFloat32 } from '../../src/common/tensor.ts';
import type { PairMetrics, Preference } from '../../src/contracts/preference-settings.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import type { Example } from '../../trainer/data/example.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { createTrainModel } from '../../trainer/model.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import { meanMetrics } from '../../trainer/preference.ts';
import { createObjective } from '../../trainer/run/objective.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { writeDense } from './dense-model.ts';
import { pythonJson, skipWithout } from './python.ts';

const LIMIT = 1e-4;
const RATE = 1e-3;
const [STEPS, PAIRS] = [5, 3];
const source = sharedPath('golden', 'models', 'llama-tied');
const skip =
  (process.env['LORIKEET_E2E_LONG'] === undefined && 'LORIKEET_E2E_LONG is not set') ||
  skipUnless(source) ||
  skipWithout('torch', 'transformers', 'peft', 'trl');

const PREFERENCES: readonly Preference[] = [
  { loss: 'sigmoid', beta: 0.1, labelSmoothing: 0 },
  { loss: 'ipo', beta: 0.1, labelSmoothing: 0 },
  { loss: 'robust', beta: 0.1, labelSmoothing: 0.2 },
];
const STARTS = ['base', 'continued'] as const;
const QUANTIZATIONS = ['none', 'nf4'] as const;

/** What `train_pairs.py` prints for a preference. */
interface Trained {
  readonly losses: readonly number[];
  readonly metrics: readonly Readonly<Record<string, number>>[];
}

for (const quantization of QUANTIZATIONS) {
  for (const start of STARTS) {
    test(`DPO on ${quantization}, ${start}: losses, gradients and adapters are those of TRL`, {
      skip,
    }, async (t) => {
      const dir = path.join(temporaryFolder(t), 'artifact');
      await importModel(source!, dir, { quantization, doubleQuantization: true });
      const artifact = readArtifact(dir);
      t.after(() => artifact.tensors.close());
      const model =
        quantization === 'none' ? source! : await writeDense(artifact, source!, temporaryFolder(t));
      const folder = temporaryFolder(t);
      const rows = drawPairs();
      const settings = { rows, pairs: PAIRS, rate: RATE, start, preferences: PREFERENCES };
      const script = path.resolve('test/e2e/train_pairs.py');
      const expected = pythonJson<Record<Preference['loss'], Trained>>([
        script,
        model,
        JSON.stringify(settings),
        folder,
      ]);
      for (const preference of PREFERENCES) {
        const own = path.join(folder, preference.loss);
        const initAdapter = path.join(own, 'initial');
        const job = parseJob({ model: 'm', data: 'd', initAdapter });
        const { lora } = await planAdapter(job, artifact);
        const trained = createTrainModel(artifact, {
          ...{ method: quantization === 'nf4' ? 'qlora' : 'lora', adapter: lora, dropout: 0 },
          ...{ compute: 'float32', recompute: true, blocksPerSegment: 1, threads: 1, seed: 0 },
        });
        t.after(() => trained.release());
        const of = { rows, preference, expected: expected[preference.loss], folder: own };
        await compareSteps(trained, of);
      }
    });
  }
}

interface DrawnPair {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

interface Comparison {
  readonly rows: readonly DrawnPair[];
  readonly preference: Preference;
  readonly expected: Trained;
  /** Of TRL's adapters and gradients. */
  readonly folder: string;
}

async function compareSteps(
  model: TrainModel,
  { rows, preference, expected, folder }: Comparison,
): Promise<void> {
  const { parameters } = model;
  const train = describeExamples(rows.map(toExample), 0);
  const { loss: name } = preference;
  const options = { train, validation: undefined, batchSize: PAIRS, classifies: false };
  const objective = createObjective({ model, ...options, preference });
  await objective.prepare();
  const adam = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 } as const;
  const optimizer = createAdamW(parameters, adam);
  const gradients = readTensors(path.join(folder, 'grads.safetensors'));
  for (const [step, loss] of expected.losses.entries()) {
    for (const { grad } of parameters) grad.fill(0);
    const plan = Array.from({ length: PAIRS }, (_, i) => [step * PAIRS + i]);
    const sums = await objective.accumulate(plan);
    // ipo's losses are near 25, where float32 has a step of 2e-6 and the sums have 1e-5.
    const difference = Math.abs(sums.loss / PAIRS - loss) / Math.max(1, loss);
    assert.ok(difference < LIMIT, `${name}, step ${step}: ${sums.loss / PAIRS}, TRL has ${loss}`);
    for (const [metric, value] of Object.entries(expected.metrics[step]!)) {
      const own = meanMetrics(sums)[metric as keyof PairMetrics]!;
      assert.ok(
        Math.abs(own - value) < 10 * LIMIT,
        `${name}, step ${step}, ${metric}: ${own}, ${value}`,
      );
    }
    if (step === 0) {
      for (const { name, grad } of parameters) {
        const mean = grad.map((value) => value / PAIRS);
        const worst = worstDifference(mean, toFloat32(gradients.get(name)!));
        assert.ok(worst < LIMIT, `${name}: gradient off by ${worst}`);
      }
    }
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / PAIRS;
    optimizer.step(step + 1, RATE, clipFactor(norm, 1) / PAIRS);
  }
  const final = readTensors(path.join(folder, 'final', 'adapter_model.safetensors'));
  assert.equal(final.size, parameters.length);
  for (const { name, data } of parameters) {
    const worst = worstDifference(data, toFloat32(final.get(name)!));
    assert.ok(worst < LIMIT, `${name} is off by ${worst}`);
  }
}

/** Pairs of different lengths. */
function drawPairs(): DrawnPair[] {
  const random = seededRandom(6);
  const draw = (from: number, to: number) => from + Math.floor(((random() + 1) / 2) * (to - from));
  const tokens = (length: number) => Array.from({ length }, () => draw(20, 120));
  return Array.from({ length: STEPS * PAIRS }, () => ({
    prompt: tokens(draw(3, 9)),
    chosen: tokens(draw(2, 12)),
    rejected: tokens(draw(2, 12)),
  }));
}

function toExample({ prompt, chosen, rejected }: DrawnPair): Example {
  const side = (output: readonly number[]): Example => {
    const ids = Int32Array.from([...prompt, ...output]);
    const labels = ids.map((id, i) => (i < prompt.length ? -1 : id));
    return { ids, labels, weights: undefined };
  };
  return { ...side(chosen), rejected: side(rejected) };
}
