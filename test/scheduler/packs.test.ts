import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PrefillBatch, SlotId } from '../../src/engine/batch.ts';
import { packPrefills } from '../../src/scheduler/packs.ts';
import type { SequenceId } from '../../src/scheduler/protocol.ts';

/** The lengths of the prompts that run together, given the lengths of all, which are in adjacent slots. */
function packed(
  lengths: readonly number[],
  { maxSeqLength = 2048, ...changes }: Partial<PrefillBatch> & { maxSeqLength?: number } = {},
): number[][] {
  const sampler = { sample: () => ({ id: 0 }) };
  const prefills = lengths.map((length, i) => {
    const batch: PrefillBatch = {
      ...{ kind: 'prefill', slot: (3 + i) as SlotId, adapter: undefined, pastLength: 0, sampler },
      ...{ tokenIds: Array.from({ length }, () => 1), scoring: undefined },
      ...(i === 1 && changes),
    };
    return { id: i as SequenceId, attach: undefined, restore: undefined, batch };
  });
  const packs = packPrefills(prefills, maxSeqLength);
  return packs.map((pack) => pack.map(({ batch }) => batch.tokenIds.length));
}

test('short prompts of similar length run together, up to 256 tokens with the padding', () => {
  assert.deepEqual(packed([64, 64, 64, 64, 64]), [[64, 64, 64, 64], [64]]);
  assert.deepEqual(packed([60, 65, 60, 60]), [[60, 65, 60], [60]]);
  assert.deepEqual(packed([10, 30, 30]), [[10], [30, 30]]);
  assert.deepEqual(packed([300, 300]), [[300], [300]]);
  assert.deepEqual(packed([]), []);
});

for (const [what, changes] of [
  ['does not end its prompt', { sampler: undefined }],
  ['is scored', { scoring: { nextIds: [], topLogprobs: 0 } }],
  ['is followed by forced tokens', { forcedIds: [1] }],
  ['is not in the next slot', { slot: 9 as SlotId }],
  ['would be padded beyond its slot', { pastLength: 1, maxSeqLength: 30 }],
] as const) {
  test(`a chunk that ${what} runs alone`, () => {
    assert.deepEqual(packed([30, 30, 30], changes), [[30], [30], [30]]);
  });
}
