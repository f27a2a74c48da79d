// A run of a real engine that is terminated, and the runs after it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SlotId } from '../../src/engine/batch.ts';
import { Engine } from '../../src/engine/engine.ts';
import type { LogitsRow } from '../../src/engine/logits.ts';
import { servingFolder, tinyModel } from '../fixtures.ts';

/** Takes a second. */
const LONG = 16_384;

test('F39: a run that is terminated rejects, and the next one computes what it would without it', async (t) => {
  const servingDir = await servingFolder(t, tinyModel(), 'f32');
  const engine = await Engine.create({ servingDir, slotCount: 2, maxSeqLength: LONG });
  t.after(() => engine.release());
  const prefill = async (slot: number, tokenIds: readonly number[]) => {
    let logits = new Float32Array();
    const sample = (row: LogitsRow) => {
      logits = row.logits.slice();
      return { id: 0 };
    };
    const batch = { kind: 'prefill', slot: slot as SlotId, adapter: undefined } as const;
    const of = { tokenIds, pastLength: 0, sampler: { sample }, scoring: undefined };
    await engine.run({ ...batch, ...of });
    return logits;
  };
  const expected = await prefill(0, [3, 4, 5]);
  engine.terminate(); // nothing runs
  const run = prefill(
    1,
    Array.from({ length: LONG }, (_, i) => i % 90),
  );
  await nextTurn();
  engine.terminate();
  await assert.rejects(run, /terminate/i);
  assert.deepEqual(await prefill(0, [3, 4, 5]), expected);
  assert.deepEqual(await prefill(1, [3, 4, 5]), expected);
});
