import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DraftableRow, Drafter, planDrafts } from '../../src/scheduler/drafter.ts';
import { ScriptedProposer } from './proposers.ts';

const COUNTING = Array.from({ length: 100 }, (_, i) => i);

function row(changes: Partial<DraftableRow> = {}): DraftableRow {
  const drafter = new Drafter(new ScriptedProposer(COUNTING));
  return { drafter, stopTokenIds: [], remainingTokens: 100, ...changes };
}

/** A row whose guesses have been right or wrong this many times. */
function experienced({ right = 0, wrong = 0 }): DraftableRow {
  const drafter = new Drafter(new ScriptedProposer(COUNTING));
  for (let i = 0; i < right + wrong; i++) {
    drafter.guess();
    drafter.append(i < wrong ? -1 : i);
  }
  return row({ drafter });
}

const lengthsOf = (rows: readonly DraftableRow[]) => planDrafts(rows).map(({ length }) => length);

test('drafts get longer while guesses are right, up to 15 tokens', () => {
  const lengths = [0, 3, 6, 12, 30].map((right) => lengthsOf([experienced({ right })])[0]!);
  assert.deepEqual(
    lengths,
    [...lengths].sort((a, b) => a - b),
  );
  assert.ok(lengths[0]! >= 2, `a new sequence tries ${lengths[0]}`);
  assert.equal(lengths.at(-1), 15);
});

test('drafts stop after wrong guesses, and start again after right ones that no run verified', () => {
  const { drafter } = experienced({ wrong: 20 });
  assert.deepEqual(planDrafts([row({ drafter })]), [[]]);
  for (let id = 20; id < 35; id++) {
    planDrafts([row({ drafter })]);
    drafter!.append(id);
  }
  assert.ok(planDrafts([row({ drafter })])[0]!.length > 0);
});

test('one wrong guess counts once, not the guesses after it', () => {
  const one = new Drafter(new ScriptedProposer(COUNTING));
  const before = one.acceptance;
  one.guess();
  one.append(-1);
  const once = one.acceptance;
  assert.ok(once < before);
  one.append(-1);
  assert.equal(one.acceptance, once);
});

test('no draft has a token that ends the sequence, or more tokens than are left', () => {
  const { drafter } = experienced({ right: 40 });
  assert.deepEqual(planDrafts([row({ drafter, stopTokenIds: [43] })]), [[40, 41, 42]]);
  assert.deepEqual(planDrafts([row({ drafter, remainingTokens: 3 })]), [[40, 41]]);
  assert.deepEqual(planDrafts([row({ drafter, remainingTokens: 1 })]), [[]]);
});

test('two rows draft only if both gain, and three do not draft', () => {
  const sure = () => experienced({ right: 40 });
  const [one, other] = lengthsOf([sure(), sure()]);
  assert.ok(one! > 0 && other! > 0);
  assert.deepEqual(lengthsOf([sure(), experienced({ wrong: 20 })]), [0, 0]);
  assert.deepEqual(lengthsOf([row({ drafter: undefined }), sure()]), [0, 0]);
  assert.deepEqual(lengthsOf([sure(), sure(), sure()]), [0, 0, 0]);
});
