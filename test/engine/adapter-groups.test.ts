// Groups of rows: the plan's indices, and the products in both layouts against each row alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { planGroups } from '../../src/engine/adapters/adapter-groups.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { servingFolder, tinyAdapter, tinyModel } from '../fixtures.ts';
import { createRunner, runLogits, worstDifference } from './runner.ts';

test('every row has a position in the group of its slot, and padding repeats rows', () => {
  const slots = fc.array(fc.nat(6), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(slots, (rowSlots) => {
      const plan = planGroups(rowSlots, 7);
      const [n, m] = plan.rowsPerGroup;
      const perGroup = n * m;
      const counts = rowSlots.map((slot) => rowSlots.filter((other) => other === slot).length);
      assert.equal(perGroup, Math.max(...counts));
      assert.ok(n === 1 || m === 1);
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

test('rows of one adapter get their own results, however many there are', async (t) => {
  const model = tinyModel();
  const servingDir = await servingFolder(t, model, 'f32');
  const { runner, slots, config } = createRunner(t, servingDir, {
    slotCount: ROWS,
    maxSeqLength: 16,
  });
  for (const seed of [1, 2, 3, 4]) {
    slots.attach(tinyAdapter(config, { seed, rank: 2 + seed, targets: TARGETS_OF.separate }));
  }
  const alone = async (row: number, slot: number) => {
    const tokenIds = [TOKENS[row]!];
    const input = { tokenIds, firstSlot: row, pastLengths: [0], logitRows: [0] };
    return runLogits(runner, { ...input, lora: { kind: 'single', slot } });
  };
  const firstRows: Float32Array[] = [];
  for (const count of [1, 2, 3, 4, 5, 8]) {
    // The first rows use adapter 1. The others take turns between the other three.
    const rowSlots = TOKENS.map((_, row) => (row < count ? 1 : 2 + (row % 3)));
    const logits = await runLogits(runner, {
      tokenIds: TOKENS,
      firstSlot: 0,
      pastLengths: TOKENS.map(() => 0),
      logitRows: TOKENS.map((_, row) => row),
      lora: { kind: 'grouped', plan: planGroups(rowSlots, slots.usedSlots) },
    });
    const rowOf = (row: number) =>
      logits.slice(row * config.vocabSize, (row + 1) * config.vocabSize);
    for (const [row, slot] of rowSlots.entries()) {
      const difference = worstDifference(rowOf(row), await alone(row, slot));
      assert.ok(difference < 1e-4, `${count} rows: row ${row} is off by ${difference}`);
    }
    if (count <= 4) firstRows.push(rowOf(0));
  }
  for (const row of firstRows) assert.deepEqual(row, firstRows[0], 'a small group changes no bit');
});
