// DPO step by step next to TRL with peft: the same losses and first gradients, and the same adapters after five steps.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { PairMetrics } from '../../src/contracts/metrics.ts';
import type { Preference } from '../../src/contracts/preference-settings.ts';
import type { Example } from '../../trainer/data/example.ts';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { meanMetrics } from '../../trainer/preference.ts';
import { createObjective } from '../../trainer/run/objective.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, skipUnlessLong, testUnless } from '../shared.ts';
import { pythonJson, skipWithout } from './python.ts';
import { compareSteps, createPeer, importPeers, LIMIT, QUANTIZATIONS, RATE } from './torch-peer.ts';

const [STEPS, PAIRS] = [5, 3];
const source = sharedPath('golden', 'models', 'llama-tied');
const skip =
  skipUnlessLong || skipUnless(source) || skipWithout('torch', 'transformers', 'peft', 'trl');
const test = testUnless(skip);

const PREFERENCES: readonly Preference[] = [
  { loss: 'sigmoid', beta: 0.1, labelSmoothing: 0 },
  { loss: 'ipo', beta: 0.1, labelSmoothing: 0 },
  { loss: 'robust', beta: 0.1, labelSmoothing: 0.2 },
];
const STARTS = ['base', 'continued'] as const;

/** What `train_pairs.py` prints for a preference. */
interface Trained {
  readonly losses: readonly number[];
  readonly metrics: readonly Readonly<Record<string, number>>[];
}

for (const quantization of QUANTIZATIONS) {
  for (const start of STARTS) {
    test(`DPO on ${quantization}, ${start}: losses, gradients and adapters are those of TRL`, async (t) => {
      const { artifact, model } = await importPeers(t, source!, quantization);
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
        const trained = await createPeer(t, artifact, { quantization, folder: own });
        const of = { rows, preference, expected: expected[preference.loss], folder: own };
        await comparePreferred(trained, of);
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

async function comparePreferred(
  model: TrainModel,
  { rows, preference, expected, folder }: Comparison,
): Promise<void> {
  const train = describeExamples(rows.map(toExample), 0);
  const { loss: name } = preference;
  const options = { train, validation: undefined, batchSize: PAIRS, classifies: false };
  const objective = createObjective({ model, ...options, preference });
  await objective.prepare!();
  await compareSteps(model, { steps: expected.losses.length, folder }, async (step) => {
    const loss = expected.losses[step]!;
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
    return PAIRS;
  });
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
