import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { AdapterSlots } from '../../src/engine/adapters/adapter-slots.ts';
import { GraphSessions } from '../../src/engine/graph-sessions.ts';
import type { ModelInput } from '../../src/engine/model-input.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import { TARGETS_OF, type TargetName } from '../../src/model/target-modules.ts';
import { servingFolder, tinyAdapter, tinyModel } from '../fixtures.ts';
import { createRunner, runLogits, worstDifference } from './runner.ts';

const model = tinyModel();
const adapter = (
  seed: number,
  rank: number,
  targets: readonly TargetName[] = TARGETS_OF.separate,
) => tinyAdapter(model.config, { seed, rank, targets });

/** The bytes of one slot of rank 1 that covers all linears. */
const SLOT_BYTES_PER_RANK =
  4 * 2 * (64 + 64 + 32 + 32 + 3 * 64 + (64 + 64) + (2 * 64 + 2 * 128) + (128 + 64));

test('an adapter that would make all slots too large is refused, and the others stay', () => {
  const capacityBytes = 3 * 8 * SLOT_BYTES_PER_RANK;
  const slots = new AdapterSlots(model.config, { capacity: 4, capacityBytes });
  slots.attach(adapter(1, 8));
  const before = slots.range(1, 1).map(({ tensor }) => tensor.data.slice());
  assert.throws(() => slots.attach(adapter(2, 16)), { code: 'adapter_invalid' });
  slots.attach(adapter(3, 8));
  assert.equal(slots.canHold([1, 3, 4].map((seed) => adapter(seed, 8))), false);
  assert.equal(slots.canHold([1, 3].map((seed) => adapter(seed, 8))), true);
  assert.throws(() => slots.attach(adapter(4, 8)), { code: 'overloaded' });
  assert.deepEqual(slots.keys(), [adapter(1, 8).digest, adapter(3, 8).digest]);
  assert.deepEqual(
    slots.range(1, 1).map(({ tensor }) => tensor.data.slice()),
    before,
  );
});

test('slots left wide by a detached adapter are narrowed to make room', () => {
  const capacityBytes = 2 * 16 * SLOT_BYTES_PER_RANK;
  const slots = new AdapterSlots(model.config, { capacity: 4, capacityBytes });
  const wide = adapter(1, 16);
  slots.attach(wide);
  slots.detach(wide.digest);
  for (const seed of [2, 3, 4]) slots.attach(adapter(seed, 4));
  assert.equal(slots.usedSlots, 4);
});

test('if memory cannot be allocated, nothing is attached', () => {
  const slots = new AdapterSlots(model.config, { capacity: 2 ** 40, capacityBytes: 2 ** 50 });
  for (let attempt = 0; attempt < 2; attempt++) {
    assert.throws(() => slots.attach(adapter(1, 8)), /shape|allocation/i);
    assert.deepEqual(slots.keys(), []);
  }
});

const prompt: Omit<ModelInput, 'slots'> = {
  tokenIds: [4, 30, 9],
  firstSlot: 0,
  pastLengths: [0],
  logitRows: [2],
};

test('replaced slots leave no memory behind', {
  skip: globalThis.gc ? false : 'needs --expose-gc',
}, async (t) => {
  const servingDir = await servingFolder(t, model, 'f32');
  const { slots, runner } = createRunner(t, servingDir, { slotCount: 2, maxSeqLength: 16 });
  slots.attach(adapter(1, 4, ['q_proj', 'v_proj']));
  const before = await runLogits(runner, { ...prompt, slots: [1] });
  const old = new WeakRef(slots.range(1, 1)[0]!.tensor.data.buffer);
  slots.attach(adapter(2, 8));
  const after = await runLogits(runner, { ...prompt, slots: [1] });
  assert.ok(worstDifference(after, before) < 1e-4);
  // The tensors are collected first, then the memory that their finalizers release. Reading the reference keeps it for
  // a turn.
  for (let turn = 0; turn < 5; turn++) {
    await setImmediate();
    globalThis.gc?.();
  }
  assert.ok(old.deref() === undefined);
});

test('B48: an adapter whose B is zero changes no bit of the base', async (t) => {
  const servingDir = await servingFolder(t, model, 'f32');
  const { slots, runner } = createRunner(t, servingDir, { slotCount: 2, maxSeqLength: 16 });
  const full = adapter(1, 4);
  const layers = full.layers.map((pairs) =>
    Object.fromEntries(
      Object.entries(pairs).map(([target, pair]) => [target, { ...pair, b: pair.b.map(() => 0) }]),
    ),
  );
  slots.attach({ ...full, layers });
  const base = await runLogits(runner, { ...prompt, slots: [0] });
  assert.deepEqual(await runLogits(runner, { ...prompt, slots: [1] }), base);
  slots.attach(adapter(2, 4));
  const changed = await runLogits(runner, { ...prompt, slots: [2] });
  assert.ok(worstDifference(changed, base) > 1e-3);
});

test('creating a session is tried again after a failure', async (t) => {
  const served = openServingFolder(await servingFolder(t, model, 'f32'));
  const locations = new Map(served.locations);
  const sessions = new GraphSessions({ ...served, locations }, 16);
  t.after(() => sessions.release());
  const [name, location] = [...locations][0]!;
  locations.delete(name); // names a file that is not there
  await assert.rejects(sessions.get({ adapters: undefined, kv: 'f32', head: 'logits' }));
  locations.set(name, location);
  await sessions.get({ adapters: undefined, kv: 'f32', head: 'logits' });
});
