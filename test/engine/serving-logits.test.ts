import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { targetNames } from '../../src/model/target-modules.ts';
import { servingFolder, type TinyModel, tinyAdapter, tinyModel } from '../fixtures.ts';
import { plainLogits } from '../model/plain-decoder.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { createRunner, runLogits, worstDifference } from './runner.ts';

const TOKENS = [5, 17, 3, 90, 41, 8, 8, 63, 22, 71, 1, 30];

async function runnerOf(t: TestContext, model: TinyModel) {
  const servingDir = await servingFolder(t, model, 'f32');
  return createRunner(t, servingDir, { slotCount: 3, maxSeqLength: 32 });
}

const WIDE = [
  'llama with a feed-forward that is no multiple of 64',
  { intermediate_size: 200 },
] as const;

for (const [name, changes] of [...TINY_FAMILIES, WIDE]) {
  test(`${name}: logits equal the plain decoder's, whole, in chunks and token by token`, async (t) => {
    const model = tinyModel(changes);
    const { runner, slots } = await runnerOf(t, model);
    const adapter = tinyAdapter(model.config, {
      seed: 7,
      rank: 3,
      targets: targetNames(model.config),
    });
    slots.attach(adapter);
    for (const [slot, weights] of [
      [0, undefined],
      [1, adapter],
    ] as const) {
      const want = plainLogits(model.config, model.weights, TOKENS, weights);
      for (const chunk of [TOKENS.length, 5, 1]) {
        for (let past = 0; past < TOKENS.length; past += chunk) {
          const tokenIds = TOKENS.slice(past, past + chunk);
          const logitRows = tokenIds.map((_, i) => i);
          const run = { tokenIds, firstSlot: 1, pastLengths: [past], logitRows };
          const input = { ...run, slots: [slot] };
          const data = await runLogits(runner, input);
          assert.ok(worstDifference(data, want.slice(past, past + chunk).flat()) < 2e-4);
        }
      }
    }
  });
}

test('a chunk that asks one row gets the logits of that row', async (t) => {
  const model = tinyModel();
  const { runner } = await runnerOf(t, model);
  const want = plainLogits(model.config, model.weights, TOKENS);
  const input = { tokenIds: TOKENS, firstSlot: 0, pastLengths: [0], slots: [0] };
  const data = await runLogits(runner, { ...input, logitRows: [4] });
  assert.ok(worstDifference(data, want[4]!) < 2e-4);
});
