// The losses of Tinker's protocol next to torch's autograd: the same values, log-probabilities and gradients.
import assert from 'node:assert/strict';
import path from 'node:path';
import { toFloat32 } from '../../src/common/tensor.ts';
import {
  type PassResult,
  TOKEN_LOSS_NAMES,
  TOKEN_LOSS_SHAPES,
  type TokenDatum,
  type TokenLossName,
} from '../../src/contracts/training-service.ts';
import { TrainService } from '../../trainer/service/train-service.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, seededRandom, temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, skipUnlessLong, testUnless } from '../shared.ts';
import { pythonJson, skipWithout } from './python.ts';
import { importPeers, LIMIT, QUANTIZATIONS } from './torch-peer.ts';

const LENGTHS = [19, 7, 12];
const source = sharedPath('golden', 'models', 'llama-tied');
const skip = skipUnlessLong || skipUnless(source) || skipWithout('torch', 'transformers', 'peft');
const test = testUnless(skip);

type Expected = Record<TokenLossName, { loss: number; logprobs: number[][] }>;

for (const quantization of QUANTIZATIONS) {
  test(`gradients of each of Tinker's losses on ${quantization} are those of torch`, async (t) => {
    const { artifact, model } = await importPeers(t, source!, quantization);
    const folder = temporaryFolder(t);
    const data = drawData();
    const script = path.resolve('test/e2e/token_losses.py');
    const losses = Object.fromEntries(
      TOKEN_LOSS_NAMES.map((name) => [name, TOKEN_LOSS_SHAPES[name].parameters]),
    );
    const settings = JSON.stringify({ data: data.map(toJson), losses });
    const expected = pythonJson<Expected>([script, model, settings, folder]);
    const service = new TrainService({ artifact, threads: 1, directory: temporaryFolder(t) });
    const directory = path.join(folder, 'initial');
    for (const name of TOKEN_LOSS_NAMES) {
      await service.perform({ kind: 'load', model: name, directory, momentsFile: undefined });
      const task = { kind: 'pass', model: name, data, isForwardOnly: false } as const;
      const passed = await service.perform({ ...task, loss: { name, config: {} } });
      const { loss, logProbs } = passed as PassResult;
      const [torch, scale] = [expected[name], Math.max(1, Math.abs(expected[name].loss))];
      assert.ok(Math.abs(loss - torch.loss) / scale < LIMIT, `${name}: ${loss}, ${torch.loss}`);
      for (const [i, scores] of logProbs.entries()) {
        const worst = worstDifference(scores, Float32Array.from(torch.logprobs[i]!));
        assert.ok(worst < LIMIT, `${name}: log-probabilities off by ${worst}`);
      }
      const worst = await compareGradients(service, { name, folder });
      t.diagnostic(`${name}: gradients differ by at most ${worst.toExponential(1)}`);
      assert.ok(worst < LIMIT, `${name}: gradients off by ${worst}`);
    }
  });
}

/** Returns the largest difference of gradients, relative to the largest gradient if that is over 1. */
async function compareGradients(
  service: TrainService,
  { name, folder }: { name: TokenLossName; folder: string },
): Promise<number> {
  const momentsFile = path.join(folder, `${name}-own.safetensors`);
  const directory = path.join(folder, `${name}-own`);
  const task = { kind: 'save', model: name, directory, momentsFile, withGradients: true } as const;
  await service.perform(task);
  const own = readTensors(momentsFile);
  const torch = readTensors(path.join(folder, `${name}.safetensors`));
  assert.equal(own.size, torch.size);
  const arrays = [...torch].map(([key, tensor]) => ({ key, values: toFloat32(tensor) }));
  const largest = Math.max(1, ...arrays.map(({ values }) => Math.max(...values.map(Math.abs))));
  const differences = arrays.map(({ key, values }) =>
    worstDifference(toFloat32(own.get(`gradient.${key}`)!), values),
  );
  return Math.max(...differences) / largest;
}

/** Sequences of different lengths. Their ratios are on both sides of the clip range, with advantages and weights of both signs. */
function drawData(): TokenDatum[] {
  const random = seededRandom(8);
  const token = () => 20 + Math.floor(((random() + 1) / 2) * 100);
  return LENGTHS.map((length, i) => {
    const draw = (value: (t: number) => number) =>
      Float32Array.from({ length }, (_, t) => value(t));
    return {
      inputIds: Int32Array.from({ length }, token),
      targets: Int32Array.from({ length }, token),
      inputs: {
        weights: draw(() => 2 * random()),
        logprobs: draw(() => -5 + 2 * random()),
        advantages: draw(() => random()),
        sequence_ratio_mask: draw((t) => (t < i + 2 ? 0 : 1)),
      },
    };
  });
}

function toJson({ inputIds, targets, inputs }: TokenDatum) {
  const numbers = Object.entries(inputs).map(([name, values]) => [name, [...values]]);
  return { ids: [...inputIds], targets: [...targets], inputs: Object.fromEntries(numbers) };
}
