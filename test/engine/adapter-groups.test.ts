// Groups of rows: the plan's indices, and the products of a group against each row alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { planGroups } from '../../src/engine/adapters/adapter-groups.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { servingFolder, tinyAdapter, tinyModel } from '../fixtures.ts';
import { createRunner, runLogits } from './runner.ts';

test('every row has a position in the group of its slot, and padding repeats rows', () => {
  const slots = fc.array(fc.nat(6), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(slots, (rowSlots) => {
      const plan = planGroups(rowSlots, 7);
      const { rowsPerGroup: perGroup } = plan;
      const counts = rowSlots.map((slot) => rowSlots.filter((other) => other === slot).length);
      assert.equal(perGroup, Math.max(...counts));
      assert.equal(plan.groupRows.length, plan.groupCount * perGroup);
      assert.equal(new Set(plan.paddedPositions).size, rowSlots.length);
      plan.paddedPositions.forEach((position, row) => {
        assert.equal(plan.groupRows[position], row);
        assert.equal(plan.first + Math.floor(position / perGroup), rowSlots[row]);
      });
      for (const row of plan.groupRows) assert.ok(rowSlots[row] !== undefined);
    }),
  );
});

const ROWS = 12;
const TOKENS = Array.from({ length: ROWS }, (_, row) => 3 + 5 * row);

test('a row gets the same bits alone and in any group', async (t) => {
  const model = tinyModel();
  const servingDir = await servingFolder(t, model, 'f32');
  const { runner, slots, config } = createRunner(t, servingDir, {
    slotCount: ROWS,
    maxSeqLength: 16,
  });
  for (const seed of [1, 2, 3, 4]) {
    slots.attach(tinyAdapter(config, { seed, rank: 6 * seed, targets: TARGETS_OF.separate }));
  }
  const alone = async (row: number, slot: number) => {
    const tokenIds = [TOKENS[row]!];
    const input = { tokenIds, firstSlot: row, pastLengths: [0], logitRows: [0] };
    return runLogits(runner, { ...input, slots: [slot] });
  };
  for (const count of [1, 2, 3, 4, 5, 8]) {
    // The first rows use adapter 1. The others take turns between the other three.
    const rowSlots = TOKENS.map((_, row) => (row < count ? 1 : 2 + (row % 3)));
    const logits = await runLogits(runner, {
      tokenIds: TOKENS,
      firstSlot: 0,
      pastLengths: TOKENS.map(() => 0),
      logitRows: TOKENS.map((_, row) => row),
      slots: rowSlots,
    });
    const rowOf = (row: number) =>
      logits.slice(row * config.vocabSize, (row + 1) * config.vocabSize);
    for (const [row, slot] of rowSlots.entries()) {
      assert.deepEqual(rowOf(row), await alone(row, slot), `${count} rows: row ${row}`);
    }
  }
});
