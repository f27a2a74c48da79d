// Prompts in several runs, for devices whose attention is wrong for many tokens at once. The logits equal those of one
// run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxTokensPerRun } from '../../src/engine/memory/device-memory.ts';
import { HOST_MEMORY } from '../../src/engine/memory/host-memory.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import { servingFolder, tinyModel } from '../fixtures.ts';
import { createRunner, runLogits, runnerOf, worstDifference } from './runner.ts';

const TOKENS = [5, 17, 3, 90, 41, 8, 8, 63, 22, 71, 1, 30];
const SIZE = { slotCount: 2, maxSeqLength: 32 };

for (const logitRows of [TOKENS.map((_, i) => i), [11], [9, 2]]) {
  test(`a prompt in several runs has the same logits in rows ${logitRows} as in one run`, async (t) => {
    const servingDir = await servingFolder(t, tinyModel(), 'f32');
    const whole = createRunner(t, servingDir, SIZE);
    const memory = { ...HOST_MEMORY, maxTokensPerRun: 5 };
    const parts = runnerOf(t, openServingFolder(servingDir), { ...SIZE, memory });
    const input = { tokenIds: TOKENS, firstSlot: 1, pastLengths: [0], logitRows, slots: [0] };
    const want = await runLogits(whole.runner, input);
    assert.ok(worstDifference(await runLogits(parts.runner, input), want) < 1e-5);
    const next = { ...input, tokenIds: [4], pastLengths: [TOKENS.length], logitRows: [0] };
    const after = await runLogits(whole.runner, next);
    assert.ok(worstDifference(await runLogits(parts.runner, next), after) < 1e-5);
  });
}

test("the CPU's attention computes the same in one run as in two, in both float types", () => {
  for (const float of ['float32', 'float16'] as const) {
    assert.equal(maxTokensPerRun('cpu', float), Number.POSITIVE_INFINITY);
  }
});
