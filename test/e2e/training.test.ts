// `lorikeet train` as its users run it: a folder that is served, stops and kills at any time, refusals.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { runLorikeet, serveFor, spawnLorikeet, succeed } from './program.ts';
import { readLines, servedLoss, writeRows } from './rows.ts';

const TOY = path.resolve('models/toy');

function writeJob(dir: string, job: object): string {
  const file = path.join(dir, 'job.json');
  const base = { model: TOY, data: writeRows(dir), rank: 4, batchSize: 4, learningRate: 1e-2 };
  writeFileSync(file, JSON.stringify({ ...base, epochs: 5, checkpointEvery: 3, ...job }));
  return file;
}

const adapterBytes = (run: string) =>
  readFileSync(path.join(run, 'adapter/adapter_model.safetensors'));

/** Resolves when the run has done so many steps, or has ended. */
async function reached(run: string, steps: number, child: ChildProcess): Promise<void> {
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const done = () => readLines(path.join(run, 'metrics.jsonl')).length;
  while (isRunning() && done() < steps) await setTimeout(2);
}

test('F25, T25, I20: a run killed at random steps goes on to the same bytes', async (t) => {
  const dir = temporaryFolder(t);
  const job = writeJob(dir, { dropout: 0.1, packing: true, gradAccumulation: 2, epochs: 12 });
  const whole = path.join(dir, 'whole');
  await succeed(['train', job, '--out', whole], dir);
  const steps = readLines(path.join(whole, 'metrics.jsonl')).length;
  const random = seededRandom(Date.now());
  const run = path.join(dir, 'killed');
  for (let kill = 0; kill < 10; kill++) {
    const args = kill === 0 ? ['train', job, '--out', run] : ['train', '--resume', run];
    const { child } = spawnLorikeet(args, dir);
    const closed = once(child, 'exit');
    const target = Math.min(steps - 1, 1 + Math.floor(((random() + 1) / 2) * steps));
    await reached(run, target, child);
    child.kill('SIGKILL');
    await closed;
  }
  await succeed(['train', '--resume', run], dir);
  assert.ok(adapterBytes(run).equals(adapterBytes(whole)));
  assert.equal(readLines(path.join(run, 'metrics.jsonl')).length, steps);
});

test('F24: SIGTERM writes a checkpoint, says paused and ends well; the run goes on from there', async (t) => {
  const dir = temporaryFolder(t);
  const job = writeJob(dir, { epochs: 200, checkpointEvery: 100_000 });
  const run = path.join(dir, 'run');
  const { child } = spawnLorikeet(['train', job, '--out', run], dir);
  await reached(run, 3, child);
  child.kill('SIGTERM');
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  const last = readLines(path.join(run, 'events.jsonl')).at(-1)!;
  assert.equal(last['type'], 'paused');
  const done = readLines(path.join(run, 'metrics.jsonl')).length;
  assert.deepEqual(readdirSync(path.join(run, 'checkpoints')), [`step-${done}`]);
  assert.ok(!existsSync(path.join(run, 'lock')));
});

test('an adapter with a name is published, and a full model is a folder to import', async (t) => {
  const dir = temporaryFolder(t);
  const plain = path.join(dir, 'plain');
  await runLorikeet(['import', TOY, '--out', plain, '--quantization', 'none'], dir);
  const job = writeJob(dir, { name: 'letters', validationSplit: 0.2, maxSteps: 6, evalEvery: 2 });
  const run = path.join(dir, 'run');
  const { code, out } = await runLorikeet(['train', job, '--out', run], dir);
  assert.equal(code, 0);
  assert.match(out, /model name is letters/);
  const published = path.join(dir, 'store/local/letters/1/adapter_model.safetensors');
  assert.ok(readFileSync(published).equals(adapterBytes(run)));
  const resumed = await runLorikeet(['train', '--resume', run], dir);
  assert.match(resumed.error, /New adapter letters@1 in /);
  const adapters = path.join(dir, 'adapters');
  await succeed(['train', '--resume', run, '--adapters', adapters], dir);
  const copied = path.join(adapters, 'letters/adapter_model.safetensors');
  assert.ok(readFileSync(copied).equals(adapterBytes(run)));
  assert.ok(readLines(path.join(run, 'metrics.jsonl')).some((row) => 'validationLoss' in row));
  const full = path.join(dir, 'full');
  const fullJob = path.join(dir, 'full.json');
  const data = path.join(dir, 'rows.jsonl');
  writeFileSync(fullJob, JSON.stringify({ model: plain, data, method: 'full', maxSteps: 2 }));
  await succeed(['train', fullJob, '--out', full], dir);
  assert.ok(!existsSync(path.join(full, 'adapter')));
  const again = ['import', path.join(full, 'model'), '--out', path.join(dir, 'again')];
  await succeed(again, dir);
});

test('wrong settings end with 78, wrong rows with 1, wrong folders with 2, and nothing is left', async (t) => {
  const dir = temporaryFolder(t);
  const run = path.join(dir, 'run');
  const outcome = async (job: object, out = run) =>
    runLorikeet(['train', writeJob(dir, job), '--out', out], dir);
  const method = await outcome({ method: 'full', rank: undefined });
  assert.equal(method.code, 78);
  assert.match(method.error, /needs an unquantized base.*lorikeet import/);
  const keys = await outcome({ rang: 4, epochs: 1e6 });
  assert.equal(keys.code, 78);
  assert.deepEqual(keys.error.split('\n').filter((line) => /rang|epochs/.test(line)).length, 2);
  writeFileSync(path.join(dir, 'bad.jsonl'), '{"text":"a"}\n{"text":}\n');
  const rows = await outcome({ data: path.join(dir, 'bad.jsonl') });
  assert.equal(rows.code, 1);
  assert.match(rows.error, /line 2: is not JSON/);
  assert.ok(!existsSync(run));
  mkdirSync(run);
  writeFileSync(path.join(run, 'mine'), '');
  assert.equal((await outcome({})).code, 2);
  assert.equal((await runLorikeet(['train', '--resume', run], dir)).code, 2);
});

test('a run whose store is not there ends before it begins', async (t) => {
  const dir = temporaryFolder(t);
  const run = path.join(dir, 'run');
  const args = ['train', writeJob(dir, { name: 'letters' }), '--out', run];
  const { code, error } = await runLorikeet(args, dir, { LORIKEET_STORE: path.join(dir, 'none') });
  assert.equal(code, 1);
  assert.match(error, /none does not exist[\s\S]*LORIKEET_STORE/);
  assert.ok(!existsSync(run));
  const base = await runLorikeet(['train', writeJob(dir, { name: 'base' }), '--out', run], dir);
  assert.equal(base.code, 78);
  assert.match(base.error, /name: is reserved/);
});

test("the published adapter is served with the trainer's own validation loss", async (t) => {
  const dir = temporaryFolder(t);
  const rows = writeRows(dir);
  const job = writeJob(dir, { name: 'letters', validation: rows, maxSteps: 5, evalEvery: 5 });
  const run = path.join(dir, 'run');
  await succeed(['train', job, '--out', run], dir);
  const { validationLoss } = readLines(path.join(run, 'metrics.jsonl')).at(-1)!;
  const flags = ['--model', TOY, '--weights', 'f32'];
  const server = await serveFor(t, flags, dir);
  const served = await servedLoss(server.url, 'letters');
  assert.ok(Math.abs(served - Number(validationLoss)) < 1e-4, `${served} ${validationLoss}`);
});
