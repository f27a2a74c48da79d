import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planForced, usableForced } from '../../src/scheduler/drafter.ts';

const row = (count: number, changes: object = {}) => ({
  upcoming: Array.from({ length: count }, (_, i) => i + 1),
  stopTokenIds: [],
  remainingTokens: 1000,
  ...changes,
});

test('forced tokens leave room for one token that is drawn', () => {
  assert.deepEqual(usableForced(row(5, { remainingTokens: 3 })), [1, 2]);
  assert.deepEqual(usableForced(row(5, { remainingTokens: 1 })), []);
});

test('forced tokens stop before one that ends the sequence', () => {
  assert.deepEqual(usableForced(row(5, { stopTokenIds: [3] })), [1, 2]);
});

test('a run of forced tokens is bounded', () => {
  assert.equal(usableForced(row(500)).length, 64);
});

test('a single sequence runs all forced text at once', () => {
  assert.deepEqual(planForced([row(1)]), [[1]]);
  assert.deepEqual(planForced([row(2)]), [[1, 2]]);
});

test('the more sequences wait, the longer the text must be', () => {
  const planned = (rows: number, count: number) => {
    return planForced(Array.from({ length: rows }, () => row(count)))[0]!.length > 0;
  };
  assert.ok(planned(4, 6) && !planned(32, 6));
  assert.ok(planned(32, 24));
});
