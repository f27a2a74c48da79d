// A run that was stopped, killed or torn goes on to the same bytes as one that never was.
import assert from 'node:assert/strict';
import {
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { hashFile } from '../../src/common/regular-file.ts';
import { readTrainingOrigin } from '../../src/contracts/training-origin.ts';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import { parseJob } from '../../trainer/job/job.ts';
import { prepareRows } from '../../trainer/job/prepare-run.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';
import { curveOf, dataset, NO_FILES, runDir, runLinear, weightsOf } from './runs.ts';
import { adapterBytesOf, questions, runToy, writeRows } from './toy-runs.ts';

const JOB = { epochs: 3, checkpointEvery: 4, weightDecay: 0.01, gradAccumulation: 2, seed: 3 };

test('the same seed gives the same bytes, another seed others', async (t) => {
  const root = temporaryFolder(t);
  const first = await runLinear(runDir(root, 'a'), { job: JOB });
  const again = await runLinear(runDir(root, 'b'), { job: JOB });
  const other = await runLinear(runDir(root, 'c'), { job: { ...JOB, seed: 4 } });
  assert.equal(weightsOf(first), weightsOf(again));
  assert.notEqual(weightsOf(first), weightsOf(other));
});

test('F25, T25, I20: a run killed after any step goes on to the same bytes and the same curve', async (t) => {
  const root = temporaryFolder(t);
  const whole = await runLinear(runDir(root, 'whole'), { job: JOB });
  for (let killAfter = 1; killAfter < whole.metrics.length; killAfter++) {
    const dir = runDir(root, `killed-${killAfter}`);
    await assert.rejects(runLinear(dir, { job: JOB, killAfter }), /killed/);
    const resumed = await runLinear(dir, { job: JOB });
    assert.equal(resumed.outcome, 'succeeded');
    assert.equal(weightsOf(resumed), weightsOf(whole), `killed after step ${killAfter}`);
    assert.deepEqual(curveOf(resumed), curveOf(whole));
  }
});

test('a run that is asked to stop writes a checkpoint of its last step and goes on from there', async (t) => {
  const root = temporaryFolder(t);
  const whole = await runLinear(runDir(root, 'whole'), { job: JOB });
  const dir = runDir(root, 'stopped');
  const stopped = await runLinear(dir, { job: JOB, stopAfter: 6 });
  assert.equal(stopped.outcome, 'paused');
  assert.equal(stopped.events.at(-1), 'checkpoint: Checkpoint created at step 6');
  const resumed = await runLinear(dir, { job: JOB });
  assert.equal(resumed.events[0], 'resumed: Resumed after step 6');
  assert.equal(weightsOf(resumed), weightsOf(whole));
});

test('F20: a torn or altered checkpoint counts as absent', async (t) => {
  const root = temporaryFolder(t);
  const whole = await runLinear(runDir(root, 'whole'), { job: JOB });
  for (const damage of ['torn', 'altered', 'half'] as const) {
    const dir = runDir(root, damage);
    await runLinear(dir, { job: JOB, stopAfter: 6 });
    const file = path.join(dir, 'checkpoints/step-6/state.safetensors');
    const bytes = readFileSync(file);
    if (damage === 'torn') truncateSync(file, bytes.length - 1);
    if (damage === 'altered') writeFileSync(file, bytes.fill(7, bytes.length - 9));
    if (damage === 'half') rmSync(path.join(dir, 'checkpoints/step-6/state.sha256'));
    const resumed = await runLinear(dir, { job: JOB });
    assert.match(resumed.events[0]!, /^warn: the checkpoint of step 6 is damaged/, damage);
    assert.equal(resumed.events[1], 'resumed: Resumed after step 4', damage);
    assert.equal(weightsOf(resumed), weightsOf(whole), damage);
  }
});

test('a checkpoint of other rows, or of other settings, is refused', async (t) => {
  const dir = runDir(temporaryFolder(t), 'run');
  await runLinear(dir, { job: JOB, stopAfter: 4 });
  const rows = dataset(12, 6);
  await assert.rejects(runLinear(dir, { job: JOB, rows }), /has changed since/);
  const job = { ...JOB, weightDecay: 0 };
  await assert.rejects(runLinear(dir, { job }), /has changed since/);
});

test('a checkpoint of a run in another arithmetic is refused, and the message names the field', async (t) => {
  const dir = runDir(temporaryFolder(t), 'run');
  await runLinear(dir, { job: JOB, stopAfter: 4 });
  const job = { ...JOB, compute: 'int8' };
  await assert.rejects(runLinear(dir, { job }), /^ConfigError: compute: is int8, but .*float32/);
});

const RUNS: Readonly<Record<string, Record<string, unknown>>> = {
  'in int8': { compute: 'int8' },
  'of DoRA': { dora: true },
  'of DoRA in int8': { dora: true, compute: 'int8' },
  'from PiSSA': { init: 'pissa', dropout: 0.1 },
  'of an activated LoRA': { alora: '?' },
};

for (const [name, settings] of Object.entries(RUNS)) {
  test(`a run ${name} that is killed goes on to the same bytes`, async (t) => {
    const rows = writeRows(t, questions(24, 'Blue.'));
    const job = { data: rows, epochs: 2, checkpointEvery: 2, ...settings };
    const whole = await runToy(t, job);
    assert.equal(whole.error, undefined);
    const killed = await runToy(t, job, { killAfter: 3 });
    assert.match(String(killed.error), /killed/);
    const resumed = await runToy(t, job, { dir: killed.dir });
    assert.equal(resumed.error, undefined);
    assert.equal(adapterBytesOf(resumed), adapterBytesOf(whole));
    assert.deepEqual(
      (await readTrainingOrigin(path.join(resumed.dir, 'adapter')))!.data,
      await hashFile(rows),
    );
  });
}

test('a checkpoint from PiSSA without its start, as older versions wrote it, is refused', async (t) => {
  const job = { data: writeRows(t, questions(24, 'Blue.')), checkpointEvery: 2, init: 'pissa' };
  const { dir } = await runToy(t, job, { killAfter: 3 });
  const folder = path.join(dir, 'checkpoints/step-2');
  const file = path.join(folder, 'state.safetensors');
  const source = openSafetensors(file);
  const infos = new Map([...source.infos].filter(([name]) => !name.startsWith('start.')));
  assert.ok(infos.size < source.infos.size);
  const older = { infos, read: (name: string) => source.read(name) };
  await writeSafetensors(`${file}.older`, older, { metadata: source.metadata });
  source.close();
  renameSync(`${file}.older`, file);
  writeFileSync(path.join(folder, 'state.sha256'), (await hashFile(file)).sha256);
  const { error } = await runToy(t, job, { dir });
  assert.match(String(error), /ConfigError: .*step-2: was written by an older version/);
});

test('the three newest checkpoints stay, and nothing half written', async (t) => {
  const dir = runDir(temporaryFolder(t), 'run');
  await runLinear(dir, { job: { ...JOB, checkpointEvery: 1 }, rows: dataset(20) });
  const names = readdirSync(path.join(dir, 'checkpoints')).sort();
  assert.deepEqual(names, ['step-13', 'step-14', 'step-15']);
});

test('the job that a run saves prepares the same run again, even with a multiplier of its rate', () => {
  const { artifact } = tinyModel();
  const options = {
    ...({ method: 'lora', maxLength: 64, adapter: undefined } as const),
    rows: { train: dataset(12), validation: undefined, files: NO_FILES },
  };
  const job = parseJob({ model: 'm', data: 'd', learningRateMultiplier: 20 });
  const first = prepareRows(job, artifact, options);
  const saved = parseJob(JSON.parse(JSON.stringify(first.job)));
  const second = prepareRows(saved, artifact, options);
  assert.equal(second.configHash, first.configHash);
  assert.deepEqual(second.settings, first.settings);
  const tooFast = { ...job, learningRate: 0.1 }; // saved as a rate of 2, which no job may have
  assert.throws(() => prepareRows(tooFast, artifact, options), {
    name: 'ConfigError',
    message: /^learningRateMultiplier: makes the learning rate 2, but it must be at most 1$/,
  });
});
