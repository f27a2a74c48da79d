// A run's checkpoint reaches another machine whole, or counts as absent. A run can be saved while its trainer works.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import { RunArchive } from '../../src/jobs/run-archive.ts';
import { readAll, readText } from '../adapters/store/conformance.ts';
import { listKeys, wrapStore } from '../adapters/store/wrapped-store.ts';
import { temporaryFolder } from '../fixtures.ts';

const PREFIX = 'local/.jobs/ftjob-1/run/';
const call = { signal: new AbortController().signal };

/** A run folder as the trainer leaves it after a step's checkpoint. */
function writeRun(dir: string, step: number): void {
  const checkpoint = path.join(dir, 'checkpoints', `step-${step}`);
  mkdirSync(checkpoint, { recursive: true });
  mkdirSync(path.join(dir, 'adapter'), { recursive: true });
  const state = Buffer.from(`state of step ${step}`);
  writeFileSync(path.join(checkpoint, 'state.safetensors'), state);
  const hash = createHash('sha256').update(state).digest('hex');
  writeFileSync(path.join(checkpoint, 'state.sha256'), `${hash}\n`);
  writeFileSync(path.join(dir, 'job.json'), '{"epochs":3}');
  writeFileSync(path.join(dir, 'metrics.jsonl'), '{"step":1}\n'.repeat(step));
  writeFileSync(path.join(dir, 'events.jsonl'), '{"type":"started"}\n');
  writeFileSync(path.join(dir, 'adapter/adapter_config.json'), '{"r":4}');
  writeFileSync(path.join(dir, 'adapter/adapter_model.safetensors'), `adapter of step ${step}`);
  writeFileSync(path.join(dir, 'lock'), '1');
  writeFileSync(path.join(dir, 'events.out.tfevents.1.lorikeet'), 'records');
}

function filesOf(dir: string): Record<string, string> {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Object.fromEntries(
    files
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file): [string, string] => [path.relative(dir, file), readFileSync(file, 'utf8')])
      .sort(),
  );
}

function setUp(t: TestContext, store = createMemoryStore()) {
  const root = temporaryFolder(t);
  const archive = new RunArchive(guardStore(store), PREFIX);
  return {
    store,
    archive,
    here: path.join(root, 'here', 'run'),
    there: path.join(root, 'there/x/run'),
  };
}

/** The same, and a run after step 2 that was saved. */
async function setUpSaved(t: TestContext) {
  const all = setUp(t);
  writeRun(all.here, 2);
  await all.archive.save(all.here, call);
  return all;
}

/** Fails the nth change of the store, and all that follow, as a machine that is gone. */
function endsAfter(store: ObjectStore, changes: number): ObjectStore {
  let left = changes;
  return wrapStore(store, async (work, call) => {
    const isChange = /^(put|delete) /.test(call);
    if (isChange && left-- <= 0) throw new StoreError('unavailable', 'gone');
    return work();
  });
}

test('the other machine gets what it needs to resume the run, and nothing else', async (t) => {
  const { archive, here, there } = setUp(t);
  writeRun(here, 2);
  writeRun(here, 4);
  await archive.save(here, call);
  assert.ok(await archive.restore(there, call));
  const files = Object.keys(filesOf(there));
  assert.deepEqual(files, [
    'adapter/adapter_config.json',
    'adapter/adapter_model.safetensors',
    'checkpoints/step-4/state.safetensors',
    'checkpoints/step-4/state.sha256',
    'events.jsonl',
    'job.json',
    'metrics.jsonl',
  ]);
  const sent = filesOf(here);
  for (const [name, text] of Object.entries(filesOf(there))) assert.equal(text, sent[name]);
  assert.deepEqual(readdirSync(path.dirname(here)), ['run']);
  assert.deepEqual(readdirSync(path.dirname(there)), ['run']);
});

test('F25: snapshots up to the checkpoint that are not published yet come along', async (t) => {
  const { archive, here, there } = setUp(t);
  writeRun(here, 8);
  for (const step of [2, 4, 8, 10]) {
    const snapshot = path.join(here, 'snapshots', `step-${step}`);
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(path.join(snapshot, 'adapter_model.safetensors'), `snapshot of step ${step}`);
  }
  await archive.save(here, { ...call, publishedStep: 2 });
  assert.ok(await archive.restore(there, call));
  const snapshots = Object.keys(filesOf(path.join(there, 'snapshots')));
  assert.deepEqual(snapshots, [
    'step-4/adapter_model.safetensors',
    'step-8/adapter_model.safetensors',
  ]);
});

test('an empty archive restores nothing', async (t) => {
  const { archive, here, there } = setUp(t);
  assert.equal(await archive.restore(there, call), false);
  assert.ok(!existsSync(there));
  mkdirSync(here, { recursive: true });
  writeFileSync(path.join(here, 'job.json'), '{}');
  await archive.save(here, call);
  assert.equal(await archive.restore(there, call), false);
});

test('a newer save replaces the one before, and one set of objects remains', async (t) => {
  const { store, archive, here, there } = await setUpSaved(t);
  const first = await listKeys(store);
  writeRun(here, 4);
  await archive.save(here, call);
  assert.equal((await listKeys(store)).length, first.length);
  writeRun(there, 1);
  assert.ok(await archive.restore(there, call));
  assert.equal(filesOf(there)['adapter/adapter_model.safetensors'], 'adapter of step 4');
  assert.ok(!existsSync(path.join(there, 'checkpoints/step-1')));
});

test('an older checkpoint does not replace a newer one', async (t) => {
  const { archive, here, there } = setUp(t);
  writeRun(here, 2);
  writeRun(there, 4);
  await archive.save(there, call);
  await archive.save(here, call);
  assert.ok(await archive.restore(here, call));
  assert.deepEqual(readdirSync(path.join(here, 'checkpoints')), ['step-4']);
});

test('F20: of a torn or altered checkpoint the one before is saved', async (t) => {
  const { archive, here, there } = setUp(t);
  writeRun(here, 2);
  writeRun(here, 4);
  writeRun(here, 6);
  writeFileSync(path.join(here, 'checkpoints/step-6/state.safetensors'), 'torn');
  rmSync(path.join(here, 'checkpoints/step-4/state.sha256'));
  await archive.save(here, call);
  assert.ok(await archive.restore(there, call));
  assert.deepEqual(readdirSync(path.join(there, 'checkpoints')), ['step-2']);
});

test('an interrupted save leaves the one before, and the next one replaces it', async (t) => {
  for (let changes = 0; ; changes++) {
    const { store, archive, here, there } = await setUpSaved(t);
    writeRun(here, 4);
    const dying = new RunArchive(guardStore(endsAfter(store, changes)), PREFIX);
    const hasEnded = await dying.save(here, call).then(
      () => false,
      () => true,
    );
    assert.ok(await archive.restore(there, call));
    const [checkpoint] = readdirSync(path.join(there, 'checkpoints'));
    const expected = changes < 8 ? 'step-2' : 'step-4'; // seven files, then what leads to them
    assert.equal(checkpoint, expected, `after ${changes} changes`);
    writeRun(here, 6);
    await archive.save(here, call);
    assert.ok(await archive.restore(there, call));
    assert.deepEqual(readdirSync(path.join(there, 'checkpoints')), ['step-6']);
    if (!hasEnded) break;
  }
});

test('a save with any damaged object counts as absent', async (t) => {
  const { store, archive, there } = await setUpSaved(t);
  for (const key of await listKeys(store)) {
    const bytes = await readAll((await store.get(key))!);
    const damaged = Buffer.from(bytes);
    damaged[0]! ^= 1;
    for (const damage of [damaged, bytes.subarray(1), undefined]) {
      await (damage ? store.put(key, damage) : store.delete(key));
      assert.equal(await archive.restore(there, call), false, key);
      assert.ok(!existsSync(there));
    }
    await store.put(key, bytes);
  }
  assert.ok(await archive.restore(there, call));
});

test('names that lead out of the folder are refused', async (t) => {
  const { store, archive, there } = await setUpSaved(t);
  const key = `${PREFIX}newest.json`;
  const text = (await readText(store, key))!;
  await store.put(key, Buffer.from(text.replace('"job.json"', '"../job.json"')));
  assert.equal(await archive.restore(there, call), false);
});

test('of two concurrent saves the newer one remains, whole', async (t) => {
  const { store, archive, here, there } = setUp(t);
  writeRun(here, 2);
  writeRun(there, 4);
  await Promise.all([
    archive.save(here, call),
    new RunArchive(guardStore(store), PREFIX).save(there, call),
  ]);
  assert.ok(await archive.restore(here, call));
  assert.deepEqual(readdirSync(path.join(here, 'checkpoints')), ['step-4']);
  assert.equal((await listKeys(store)).length, 8);
});

test('a removed archive leaves no object', async (t) => {
  const { store, archive, there } = await setUpSaved(t);
  await archive.remove();
  assert.deepEqual(await listKeys(store), []);
  assert.equal(await archive.restore(there, call), false);
});

test('an abort ends a save with its reason', async (t) => {
  const { archive, here } = setUp(t);
  writeRun(here, 2);
  const reason = new Error('the job is not ours any more');
  await assert.rejects(archive.save(here, { signal: AbortSignal.abort(reason) }), reason);
  assert.deepEqual(readdirSync(path.dirname(here)), ['run']);
});
