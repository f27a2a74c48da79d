import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFiniteRow, type LogitsRow, scoreToken, selectTop } from '../../src/engine/logits.ts';
import { pluck } from '../pluck.ts';

const logits = Float32Array.from({ length: 500 }, (_, id) => ((id * 37) % 100) / 10);

function logSumExp(values: Float32Array): number {
  return Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));
}

test('the largest logits of a row are sorted, ties by ascending id', () => {
  const { values, ids } = selectTop(logits);
  const expected = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, 64);
  assert.deepEqual(Array.from(ids as Int32Array), expected);
  assert.deepEqual(
    [...values],
    expected.map((id) => logits[id]),
  );
});

test("log-probabilities are the log-softmax of the raw logits, with or without the graph's top logits", () => {
  const top = { ...selectTop(logits), logSumExp: logSumExp(logits) };
  const narrowed: LogitsRow = {
    logits,
    top: { ...top, ids: BigInt64Array.from(top.ids as Int32Array, BigInt) },
  };
  for (const row of [{ logits }, narrowed]) {
    const score = scoreToken(row, 3, 2);
    assert.ok(Math.abs(score.logprob - (logits[3]! - logSumExp(logits))) < 1e-9);
    assert.deepEqual(pluck(score.top, 'id'), [27, 127]);
    assert.ok(Math.abs(score.top[0]!.logprob - (logits[27]! - logSumExp(logits))) < 1e-9);
  }
  assert.deepEqual(scoreToken({ logits }, 3, 0).top, []);
});

test('a row with NaN or infinity anywhere is not finite', () => {
  assert.equal(isFiniteRow({ logits }), true);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const row = logits.slice();
    row[77] = bad;
    assert.equal(isFiniteRow({ logits: row }), false);
    assert.equal(isFiniteRow({ logits: row, top: { ...selectTop(row), logSumExp: bad } }), false);
  }
  assert.equal(isFiniteRow({ logits: new Float32Array(4).fill(Number.NEGATIVE_INFINITY) }), false);
});
