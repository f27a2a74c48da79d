// GRPO step by step next to TRL with peft, on given samples and rewards: the same losses and first gradients, and the same adapters
// after five steps.
import assert from 'node:assert/strict';
import path from 'node:path';
import { describeExamples } from '../../trainer/data/load-dataset.ts';
import { type Reinforcement, Rewards } from '../../trainer/run/reinforcement.ts';
import type { TrainModel } from '../../trainer/types.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, skipUnlessLong, testUnless } from '../shared.ts';
import { pythonJson, skipWithout } from './python.ts';
import { compareSteps, createPeer, importPeers, LIMIT, QUANTIZATIONS, RATE } from './torch-peer.ts';

const [STEPS, PROMPTS, SAMPLES] = [5, 2, 4];
const source = sharedPath('golden', 'models', 'llama-tied');
const skip =
  skipUnlessLong || skipUnless(source) || skipWithout('torch', 'transformers', 'peft', 'trl');
const test = testUnless(skip);

/** What `train_rewarded.py` prints. */
interface Trained {
  readonly losses: readonly number[];
  readonly rewards: readonly number[];
}

for (const quantization of QUANTIZATIONS) {
  for (const start of ['base', 'continued'] as const) {
    test(`GRPO on ${quantization}, ${start}: losses, gradients and adapters are those of TRL`, async (t) => {
      const { artifact, model } = await importPeers(t, source!, quantization);
      const folder = temporaryFolder(t);
      const rows = drawRows();
      const settings = JSON.stringify({ rows, prompts: PROMPTS, rate: RATE, start });
      const script = path.resolve('test/e2e/train_rewarded.py');
      const expected = pythonJson<Trained>([script, model, settings, folder]);
      const trained = await createPeer(t, artifact, { quantization, folder });
      await compareRewarded(trained, { rows, expected, folder });
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

async function compareRewarded(
  model: TrainModel,
  { rows, expected, folder }: Comparison,
): Promise<void> {
  const examples = rows.map(({ prompt }) => {
    const ids = Int32Array.from(prompt);
    return { ids, labels: ids.map(() => -1), weights: undefined, item: {} };
  });
  const train = describeExamples(examples, 0);
  const objective = new Rewards({ model, train, batchSize: 3 }, given(rows));
  await compareSteps(model, { steps: expected.losses.length, folder }, async (step) => {
    const loss = expected.losses[step]!;
    const plan = Array.from({ length: PROMPTS }, (_, i) => [step * PROMPTS + i]);
    await objective.begin(step, [plan]);
    const sums = await objective.accumulate(plan);
    const own = sums.loss / sums.weight;
    assert.ok(Math.abs(own - loss) < LIMIT, `step ${step}: ${own}, TRL has ${loss}`);
    const { reward } = objective.metrics(sums);
    assert.ok(Math.abs(reward! - expected.rewards[step]!) < LIMIT, `step ${step}: ${reward}`);
    return sums.weight;
  });
}
