// A batch's states: lines are answered once, parts count once, and statuses change as OpenAI's do.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  advanceBatch,
  type BatchRecord,
  batchSchema,
  cancelBatch,
  failBatch,
  hasBatchEnded,
  interruptBatch,
  isAnswered,
  NO_USAGE,
  newBatch,
  withAnswered,
  withPart,
} from '../../src/batches/batch.ts';

const BATCH: BatchRecord = newBatch(
  { tenant: 'acme', id: 'batch-1', base: 'b' },
  { endpoint: '/v1/embeddings', inputFile: 'file-1' },
  1000,
);

describe('a cursor', () => {
  test('follows a plain set of answered lines, in any order, and lists only the gaps', () => {
    const order = fc.uniqueArray(fc.integer({ min: 0, max: 60 }), { maxLength: 60 });
    const parts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 60, maxLength: 60 });
    const property = fc.property(order, parts, (lines, sizes) => {
      let cursor = BATCH.cursor;
      const answered = new Set<number>();
      for (let from = 0, i = 0; from < lines.length; from += sizes[i++]!) {
        const part = lines.slice(from, from + sizes[i]!);
        cursor = withAnswered(cursor, part);
        for (const line of part) answered.add(line);
        for (let line = 0; line <= 61; line++) {
          assert.equal(isAnswered(cursor, line), answered.has(line));
        }
        assert.equal(cursor.open.length, cursor.line - answered.size);
      }
    });
    fc.assert(property, { seed: 20261129, numRuns: 200 });
  });

  test('takes no line twice', () => {
    const cursor = withAnswered(BATCH.cursor, [2, 0]);
    assert.deepEqual(cursor, { line: 3, open: [1] });
    assert.throws(() => withAnswered(cursor, [2]), /a line is answered once/);
    assert.throws(() => withAnswered(cursor, [5, 5]), /a line is answered once/);
  });
});

describe('a part', () => {
  const part = { seq: 0, lines: [0, 1], completed: 1, failed: 1, usage: NO_USAGE };

  test('counts once, even if the answer to its write was lost', () => {
    const batch = withPart({ ...BATCH, token: 3, retries: 2 }, part);
    assert.deepEqual(batch?.parts, [{ token: 3, count: 1 }]);
    assert.deepEqual([batch?.completed, batch?.failed, batch?.retries], [1, 1, 0]);
    assert.equal(withPart(batch!, part), undefined);
  });

  test('of a later lease comes after those of earlier ones', () => {
    const first = withPart({ ...BATCH, token: 1 }, part)!;
    const second = withPart({ ...first, token: 2 }, { ...part, lines: [2] })!;
    assert.deepEqual(second.parts, [
      { token: 1, count: 1 },
      { token: 2, count: 1 },
    ]);
    assert.throws(() => withPart(second, { ...part, seq: 5 }), /in order/);
  });
});

describe('a status', () => {
  test('is never left once a batch has ended, whatever is done to it', () => {
    const action = fc.constantFrom(
      'start',
      'finalize',
      'complete',
      'expire',
      'cancel',
      'fail',
    ) as fc.Arbitrary<Parameters<typeof advanceBatch>[1]>;
    const property = fc.property(fc.array(action), (actions) => {
      let batch = BATCH;
      for (const [i, one] of actions.entries()) {
        const next = advanceBatch(batch, one, i);
        if (hasBatchEnded(batch)) assert.equal(next, undefined);
        batch = next ?? batch;
        assert.deepEqual(batchSchema.parse(batch), batch, 'it can be stored');
      }
    });
    fc.assert(property, { seed: 20261129 });
  });

  test('has the time at which it began', () => {
    const started = advanceBatch(BATCH, 'start', 2000)!;
    const done = advanceBatch(advanceBatch(started, 'finalize', 3000)!, 'complete', 4000)!;
    assert.equal(done.status, 'completed');
    assert.deepEqual(done.atMs, { in_progress: 2000, finalizing: 3000, completed: 4000 });
  });

  test('of a cancelled batch ends as cancelled; an ended batch cannot be cancelled', () => {
    const cancelling = cancelBatch(BATCH, 2000)!;
    assert.equal(cancelling.status, 'cancelling');
    assert.equal(cancelBatch(cancelling, 3000), undefined);
    const cancelled = advanceBatch(cancelling, 'expire', 3000)!;
    assert.equal(cancelled.status, 'cancelled');
    assert.equal(cancelBatch(cancelled, 4000), undefined);
    const failed = failBatch(BATCH, [], 2000)!;
    assert.throws(() => cancelBatch(failed, 3000), { code: 'invalid_request' });
  });

  test('of a batch that is interrupted four times in a row is failed', () => {
    let batch = BATCH;
    for (let i = 0; i < 4; i++) batch = interruptBatch(batch, 'The server failed.', 2000)!;
    assert.equal(batch.status, 'failed');
    assert.equal(batch.errors?.[0]?.message, 'The server failed.');
    assert.equal(interruptBatch(batch, 'again', 3000), undefined);
  });
});

test('servers of 0.3.0 and of this version read the same records', () => {
  const { retries: _, ...old } = BATCH;
  assert.deepEqual(batchSchema.parse({ ...old, setbacks: 2 }), { ...BATCH, setbacks: 2 });
  assert.equal(batchSchema.parse(BATCH).setbacks, 0);
});
