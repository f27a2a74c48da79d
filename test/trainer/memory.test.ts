// Fixed buffers: after the first batches of each shape, a step allocates nothing that stays.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyModel } from '../fixtures.ts';
import { batchOf, lora, trainModel } from './tiny-training.ts';

/** What the process holds for JavaScript's arrays, once everything unreachable is gone. */
async function heldBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().arrayBuffers;
}

const skip = globalThis.gc ? false : 'needs --expose-gc';

for (const recompute of [true, false]) {
  test(`memory is flat over batches of different shapes, recompute ${recompute}`, {
    skip,
  }, async (t) => {
    const tiny = tinyModel();
    const adapter = lora(tiny.config);
    const model = trainModel(t, tiny, { adapter, dropout: 0.1, recompute });
    const batches = [[9, 12], [5], [30, 8, 17], [12, 9]].map((lengths) =>
      batchOf(tiny.config, lengths),
    );
    const epoch = async () => {
      for (const batch of batches) {
        await model.accumulate(batch);
        await model.evaluate(batch);
      }
      return heldBytes();
    };
    await epoch();
    const held = await epoch();
    for (let i = 0; i < 3; i++) assert.equal(await epoch(), held);
  });
}
