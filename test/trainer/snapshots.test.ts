// The adapter of each epoch as a folder: the three newest stay, told as they are made, the same after a kill.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { inspectAdapter } from '../../adapters/peft/inspect.ts';
import { createSnapshots } from '../../trainer/run/result-files.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { questions, runToy, type ToyRun, writeRows } from './toy-runs.ts';

/** Four steps an epoch. */
const jobOf = (t: TestContext) => ({
  data: writeRows(t, questions(32, 'It is blue.')),
  ...{ epochs: 5, checkpointEvery: 3 },
});

const told = ({ messages }: ToyRun) =>
  messages.flatMap((message) => (message.type === 'snapshot' ? message : []));

const bytesOf = (directory: string) =>
  readFileSync(path.join(directory, 'adapter_model.safetensors')).toString('base64');

test('each epoch is told with its folder, which a server can open, and the three newest stay', async (t) => {
  const run = await runToy(t, jobOf(t));
  const snapshots = told(run);
  assert.deepEqual(pluck(snapshots, 'step'), [4, 8, 12, 16, 20]);
  assert.deepEqual(readdirSync(path.join(run.dir, 'snapshots')).sort(), [
    ...['step-12', 'step-16', 'step-20'],
  ]);
  for (const { directory, metrics } of snapshots.slice(-3)) {
    assert.equal((await inspectAdapter(await readAdapterFiles(directory))).rank, 4);
    assert.ok(metrics.loss > 0 && metrics.tokenAccuracy > 0);
    assert.ok(!('validationLoss' in metrics));
  }
  assert.equal(bytesOf(snapshots.at(-1)!.directory), bytesOf(path.join(run.dir, 'adapter')));
});

test('a run that goes on tells its steps again, and makes the same ones', async (t) => {
  const job = jobOf(t);
  const whole = await runToy(t, job);
  const killed = await runToy(t, job, { killAfter: 18 });
  assert.match(String(killed.error), /killed/);
  const resumed = await runToy(t, job, { dir: killed.dir });
  assert.deepEqual(
    pluck(told(resumed), 'step'),
    [8, 12, 16, 20],
    'those that are there from before, then the new one',
  );
  for (const step of [12, 16, 20]) {
    const name = `snapshots/step-${step}`;
    assert.equal(bytesOf(path.join(resumed.dir, name)), bytesOf(path.join(whole.dir, name)));
  }
});

test('what is there stays as it is, and what a kill left half written goes', async (t) => {
  const dir = path.join(temporaryFolder(t), 'snapshots');
  const data = new Float32Array([1, 2]);
  const name = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight';
  const peft = {
    ...{ r: 1, lora_alpha: 1, use_rslora: false, target_modules: ['q_proj'], lora_dropout: 0 },
    ...{
      use_dora: false,
      lora_bias: false,
      bias: 'none' as const,
      init_lora_weights: true as const,
    },
    ...{ alora_invocation_tokens: null, modules_to_save: null, ensure_weight_tying: false },
    ...{ exclude_modules: null, rank_pattern: {}, alpha_pattern: {} },
    ...{ layers_to_transform: null, layers_pattern: null },
  };
  const snapshots = createSnapshots(dir, {
    ...{ parameters: [{ name, shape: [1, 2], data }], peft, baseName: 'base', dtype: 'F32' },
  });
  assert.deepEqual(await snapshots.steps(), []);
  await snapshots.save(3, []);
  const first = bytesOf(snapshots.directory(3));
  data.fill(9);
  mkdirSync(path.join(dir, 'step-6.tmp-1'));
  await snapshots.save(3, []);
  assert.equal(bytesOf(snapshots.directory(3)), first);
  assert.ok(!existsSync(path.join(dir, 'step-6.tmp-1')));
  await snapshots.save(6, []);
  assert.notEqual(bytesOf(snapshots.directory(6)), first);
  assert.deepEqual(await snapshots.steps(), [3, 6]);
  const rows: { step: number; eval_reward: number }[] = [];
  for (const [i, reward] of [0.5, 0.1, 0.9, 0.5, 0.2, 0.1, 0.3].entries()) {
    rows.push({ step: 10 + i, eval_reward: reward });
    await snapshots.save(10 + i, rows);
  }
  // The three with the highest rewards, and the newest three.
  assert.deepEqual(await snapshots.steps(), [10, 12, 13, 14, 15, 16]);
});
