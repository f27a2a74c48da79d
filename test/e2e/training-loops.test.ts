// Recipes of Tinker's cookbook on the real base, unchanged but for the URL. They take some minutes, on a busy machine half an hour.
// LORIKEET_PYTHON needs tinker-cookbook 0.6.1 with its extra math-rl; its dependency tml-renderers is not used.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { execute } from './execute.ts';
import { type Serving, startServing } from './program.ts';
import { pythonPath, skipWithout } from './python.ts';
import { RECIPE_BASE, writeRecipeFolder } from './recipe-folder.ts';
import { readLines } from './rows.ts';
import { fetchBase, isLong, preparedHome } from './served.ts';

const base = isLong ? await fetchBase() : { reason: 'LORIKEET_E2E_LONG is not set' };
const skip =
  'reason' in base ? base.reason : skipWithout('tinker_cookbook', 'math_verify', 'torch');
// In a hook, it would be removed at the end of the hook.
const home = 'dir' in base && !skip ? await preparedHome(base.dir) : '';
const STEPS = 20;
/** The recipes print a table for each step. */
const MAX_OUTPUT = 2 ** 26;

describe('recipes of the cookbook', { skip }, () => {
  assert.ok('dir' in base);
  const { dir } = base;
  const logs = temporaryFolder();
  const folder = writeRecipeFolder(temporaryFolder(), dir);
  let server: Serving;
  before(async () => {
    const args = ['--model', dir, '--no-demo', '--base-alias', RECIPE_BASE];
    server = await startServing(args, home);
  });
  after(() => server.stop());

  /** Runs a recipe. Returns the metrics of its steps. */
  async function runRecipe(recipe: string, log: string, settings: Record<string, unknown>) {
    const common = {
      base_url: server.url,
      model_name: RECIPE_BASE,
      log_path: path.join(logs, log),
    };
    const args = Object.entries({ ...common, max_steps: STEPS, ...settings });
    const words = args.map(([name, value]) => `${name}=${value}`);
    const client = { TINKER_API_KEY: 'tml-none', TINKER_TELEMETRY: '0', HF_HUB_OFFLINE: '1' };
    await execute(pythonPath, ['-m', `tinker_cookbook.recipes.${recipe}`, ...words], {
      cwd: folder,
      env: { PATH: process.env['PATH'], HOME: folder, ...client },
      maxBuffer: MAX_OUTPUT,
    });
    return {
      metrics: readLines(path.join(logs, log, 'metrics.jsonl')) as Record<string, number>[],
      checkpoints: readLines(path.join(logs, log, 'checkpoints.jsonl')),
    };
  }

  test('the recipes sl_loop and rl_loop improve, the second from a checkpoint of the first', async () => {
    const own = { lora_rank: 8, save_every: 10 };
    const supervised = { ...own, batch_size: 4, max_length: 128, learning_rate: 5e-4 };
    const first = await runRecipe('sl_loop', 'sl', supervised);
    assert.equal(first.metrics.length, STEPS);
    const [start, end] = [first.metrics[0]!, first.metrics.at(-1)!];
    assert.ok(end['train_mean_nll']! < start['train_mean_nll']! / 5, JSON.stringify(first.metrics));
    assert.deepEqual(pluck(first.checkpoints, 'name'), ['000010', 'final']);

    const warm = { name: 'warm', batch: 0, state_path: first.checkpoints.at(-1)!['state_path'] };
    mkdirSync(path.join(logs, 'rl'));
    writeFileSync(path.join(logs, 'rl', 'checkpoints.jsonl'), `${JSON.stringify(warm)}\n`);
    const sampled = { batch_size: 1, group_size: 4, max_tokens: 8 };
    const loss = { loss_fn: 'importance_sampling', learning_rate: 5e-4 };
    const second = await runRecipe('rl_loop', 'rl', { ...own, ...sampled, ...loss });
    assert.equal(second.metrics.length, STEPS);
    const rewards = second.metrics.map((row) => row['reward/total']!);
    const reached = rewards.slice(-5).reduce((sum, one) => sum + one, 0) / 5;
    assert.ok(Math.min(...rewards.slice(0, 5)) < 0.8 && reached > 0.9, rewards.join());
  });

  test('the DPO recipe, whose loss runs in torch in the client, learns the preference', async () => {
    const { metrics } = await runRecipe('preference.dpo.train', 'dpo', {
      ...{ dataset: 'hhh', batch_size: 2, max_length: 128, max_steps: 10 },
      ...{ learning_rate: 3e-4, behavior_if_log_dir_exists: 'delete' },
    });
    assert.equal(metrics.length, 10);
    const [start, end] = [metrics[0]!, metrics.at(-1)!];
    // The reference has 8-bit weights, so the first loss is only near log 2.
    assert.ok(Math.abs(start['dpo_loss']! - Math.log(2)) < 0.1, JSON.stringify(start));
    assert.ok(end['dpo_loss']! < start['dpo_loss']! / 2, JSON.stringify(metrics));
  });
});
