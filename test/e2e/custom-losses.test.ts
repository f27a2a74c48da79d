// A custom loss of Tinker's client, whose torch turns it into weights of tokens: DPO has the losses and gradients that it has if
// all of it runs in torch and peft.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { importModel } from '../../src/import/import-model.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, skipUnlessLong } from '../shared.ts';
import { serveFor, succeed } from './program.ts';
import { pythonJson, skipWithout } from './python.ts';

const source = sharedPath('golden', 'models', 'llama-tied');
const skip =
  skipUnlessLong || skipUnless(source) || skipWithout('torch', 'peft', 'tinker_cookbook');
const SCRIPT = path.resolve('test/e2e/dpo_twin.py');
const LIMIT = 1e-4;

type Curves = readonly [losses: readonly number[], norms: readonly number[]];

test('DPO through forward_backward_custom is DPO in torch', { skip }, async (t) => {
  const home = temporaryFolder(t);
  const model = path.join(home, 'base');
  await importModel(source!, model, { quantization: 'none', doubleQuantization: false });
  const server = await serveFor(t, ['--model', model, '--weights', 'f32'], home);

  const saved = pythonJson<string>([SCRIPT, 'start', server.url]);
  const [, run, number] = /^tinker:\/\/(.*):train:(\d+)\/weights\/start$/.exec(saved)!;
  const adapter = path.join(home, 'adapter');
  const name = `${run}-${number}:training.start`;
  const pull = ['adapters', 'pull', name, '--out', adapter];
  await succeed(pull, home);

  const args = [SCRIPT, 'train', server.url, saved, source!, adapter];
  const { ours, torch } = pythonJson<{ ours: Curves; torch: Curves }>(args);
  assert.equal(torch[0].length, 5);
  for (const [curve, values] of torch.entries()) {
    for (const [step, value] of values.entries()) {
      const own = ours[curve]![step]!;
      const isSame = Math.abs(own - value) < LIMIT * Math.max(1, value);
      assert.ok(isSame, `step ${step}: ${own}, torch has ${value}`);
    }
  }
  assert.ok(torch[0].at(-1)! < torch[0][0]!);
});
