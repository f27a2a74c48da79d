// GRPO step by step next to TRL with peft, on given samples and rewards: the same losses and first gradients, and the same adapters
// after five steps. The NF4 base is compared in its dequantized weights, because bitsandbytes computes in 16 bits.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { toFloat32 } from '../../src/common/tensor.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { planAdapter } from '../../trainer/job/adapter-plan.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { createTrainModel } from '../../trainer/model.ts';
import { clipFactor, createAdamW, globalNorm } from '../../trainer/optimizer.ts';
import { createObjective } from '../../trainer/run/objective.ts';
import type { Reinforcement } from '../../trainer/run/reinforcement.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { writeDense } from './dense-model.ts';
import { pythonJson, skipWithout } from './python.ts';

const LIMIT = 1e-4;
const RATE = 1e-3;
const [STEPS, PROMPTS, SAMPLES] = [5, 2, 4];
const source = sharedPath('golden', 'models', 'llama-tied');
const skip =
  (process.env['LORIKEET_E2E_LONG'] === undefined && 'LORIKEET_E2E_LONG is not set') ||
  skipUnless(source) ||
  skipWithout('torch', 'transformers', 'peft', 'trl');

/** What `train_rewarded.py` prints. */
interface Trained {
  readonly losses: readonly number[];
  readonly rewards: readonly number[];
}

for (const quantization of ['none', 'nf4'] as const) {
  for (const start of ['base', 'continued'] as const) {
    test(`GRPO on ${quantization}, ${start}: losses, gradients and adapters are those of TRL`, {
      skip,
    }, async (t) => {
      const dir = path.join(temporaryFolder(t), 'artifact');
      await importModel(source!, dir, { quantization, doubleQuantization: true });
      const artifact = readArtifact(dir);
      t.after(() => artifact.tensors.close());
      const model =
        quantization === 'none' ? source! : await writeDense(artifact, source!, temporaryFolder(t));
      const folder = temporaryFolder(t);
      const rows = drawRows();
      const settings = JSON.stringify({ rows, prompts: PROMPTS, rate: RATE, start });
      const script = path.resolve('test/e2e/train_rewarded.py');
      const expected = pythonJson<Trained>([script, model, settings, folder]);
      const initAdapter = path.join(folder, 'initial');
      const { lora } = await planAdapter(
        parseJob({ model: 'm', data: 'd', initAdapter }),
        artifact,
      );
      const trained = createTrainModel(artifact, {
        ...{ method: quantization === 'nf4' ? 'qlora' : 'lora', adapter: lora, dropout: 0 },
        ...{ compute: 'float32', recompute: true, blocksPerSegment: 1, threads: 1, seed: 0 },
      });
      t.after(() => trained.release());
      await compareSteps(trained, { rows, expected, folder });
    });
  }
}

interface DrawnSample {
  readonly ids: readonly number[];
  readonly logProbs: readonly number[];
  readonly reward: number;
}

interface DrawnRow {
  readonly prompt: readonly number[];
  readonly samples: readonly DrawnSample[];
}

/**
 * Draws samples of different lengths. The log-probabilities of the sampler are near those of a model that guesses, so some importance
 * weights are above 1, some below, and some are truncated. One prompt has equal rewards.
 */
function drawRows(): DrawnRow[] {
  const random = seededRandom(6);
  const draw = (from: number, to: number) => from + Math.floor(((random() + 1) / 2) * (to - from));
  const tokens = (length: number) => Array.from({ length }, () => draw(20, 120));
  return Array.from({ length: STEPS * PROMPTS }, (_, row) => ({
    prompt: [20 + row, ...tokens(draw(3, 9))],
    samples: Array.from({ length: SAMPLES }, () => {
      const ids = tokens(draw(2, 12));
      const logProbs = ids.map(() => -5 + 1.5 * random());
      return { ids, logProbs, reward: row === 3 ? 0.5 : draw(0, 5) / 4 };
    }),
  }));
}

/** Returns the samples and rewards of each prompt in their order. */
function given(rows: readonly DrawnRow[]): Reinforcement {
  const rowOf = ([first]: ArrayLike<number> & Iterable<number>) =>
    rows.find(({ prompt }) => prompt[0] === first)!;
  const drawn = new Map<DrawnRow, number>();
  return {
    completions: SAMPLES,
    completionLength: 16,
    maxLength: 64,
    seed: 0,
    sampler: {
      async use() {},
      async post() {
        throw new Error('the rewards are given');
      },
      async sample({ promptIds }) {
        const row = rowOf(promptIds);
        const k = drawn.get(row) ?? 0;
        drawn.set(row, k + 1);
        return { ...row.samples[k]!, isWhole: true };
      },
    },
    writeAdapter: async () => '',
    constraintOf: () => undefined,
    async reward(ids, { ids: prompt }) {
      return { value: rowOf(prompt).samples.find((sample) => sample.ids === ids)!.reward };
    },
  };
}

interface Comparison {
  readonly rows: readonly DrawnRow[];
  readonly expected: Trained;
  /** Of TRL's adapters and gradients. */
  readonly folder: string;
}

async function compareSteps(
  model: TrainModel,
  { rows, expected, folder }: Comparison,
): Promise<void> {
  const { parameters } = model;
  const examples = rows.map(({ prompt }) => {
    const ids = Int32Array.from(prompt);
    return { ids, labels: ids.map(() => -1), weights: undefined, item: {} };
  });
  const objective = createObjective({
    ...{ model, train: describeExamples(examples, 0), validation: undefined },
    ...{ batchSize: 3, classifies: false, preference: undefined, reinforcement: given(rows) },
  });
  const optimizer = createAdamW(parameters, { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 });
  const gradients = readTensors(path.join(folder, 'grads.safetensors'));
  for (const [step, loss] of expected.losses.entries()) {
    for (const { grad } of parameters) grad.fill(0);
    const plan = Array.from({ length: PROMPTS }, (_, i) => [step * PROMPTS + i]);
    await objective.begin(step, [plan]);
    const sums = await objective.accumulate(plan);
    const own = sums.loss / sums.weight;
    assert.ok(Math.abs(own - loss) < LIMIT, `step ${step}: ${own}, TRL has ${loss}`);
    const { reward } = objective.metrics(sums);
    assert.ok(Math.abs(reward! - expected.rewards[step]!) < LIMIT, `step ${step}: ${reward}`);
    if (step === 0) {
      for (const { name, grad } of parameters) {
        const mean = grad.map((value) => value / sums.weight);
        const worst = worstDifference(mean, toFloat32(gradients.get(name)!));
        assert.ok(worst < LIMIT, `${name}: gradient off by ${worst}`);
      }
    }
    const norm = globalNorm(parameters.map(({ grad }) => grad)) / sums.weight;
    optimizer.step(step + 1, RATE, clipFactor(norm, 1) / sums.weight);
  }
  const final = readTensors(path.join(folder, 'final', 'adapter_model.safetensors'));
  assert.equal(final.size, parameters.length);
  for (const { name, data } of parameters) {
    const worst = worstDifference(data, toFloat32(final.get(name)!));
    assert.ok(worst < LIMIT, `${name} is off by ${worst}`);
  }
}
