// TRL's AsyncGRPOTrainer, unchanged but for what needs a GPU: it trains LoRA in torch, and samples from a server that loads each new
// adapter. Both have the same weights in float32, so a token has the same log-probability on both sides.
import assert from 'node:assert/strict';
import path from 'node:path';
import { importModel } from '../../src/import/import-model.ts';
import { temporaryFolder } from '../fixtures.ts';
import { testUnless } from '../shared.ts';
import { execute } from './execute.ts';
import { serveFor } from './program.ts';
import { pythonPath, skipWithout } from './python.ts';

const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;
const skip = isLong ? skipWithout('trl', 'vllm', 'peft') : 'LORIKEET_E2E_LONG is not set';
const test = testUnless(skip);
const STEPS = 10;

interface Trained {
  readonly logged: Readonly<Record<string, number>>[];
  /** How often an adapter was loaded. */
  readonly version: number;
}

test("TRL's AsyncGRPOTrainer trains on samples of the adapters that it loads here", async (t) => {
  const home = temporaryFolder(t);
  const base = path.join(home, 'base');
  const quantization = { quantization: 'none', doubleQuantization: false } as const;
  await importModel('smollm2-135m-instruct-q4', base, quantization);
  const args = ['--model', base, '--weights', 'f32', '--slots', '8', '--no-demo'];
  const server = await serveFor(t, [...args, '--loadable-adapters', home], home);
  const script = path.resolve('test/e2e/trl_async_grpo.py');
  const out = path.join(home, 'out');
  const { stdout } = await execute(pythonPath, [script, server.url, base, String(STEPS), out], {
    cwd: home,
    // On a busy machine, torch's threads mostly wait for each other.
    env: { PATH: process.env['PATH'], HOME: home, HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: '1' },
    maxBuffer: 2 ** 26,
  });
  const { logged, version } = JSON.parse(stdout.trim().split('\n').at(-1)!) as Trained;
  assert.equal(logged.length, STEPS);
  assert.equal(version, STEPS + 1, 'one adapter before the first step, and one after each');
  assert.ok(logged[0]!['kl']! < 1e-4, JSON.stringify(logged[0]));
});
