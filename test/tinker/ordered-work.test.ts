import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OrderedWork } from '../../src/tinker/ordered-work.ts';

test('requests run in the order of their numbers, one at a time, however they arrive', async () => {
  const work = new OrderedWork(1);
  const log: string[] = [];
  const run = (number: number) =>
    work.runInOrder(number, async () => {
      log.push(`begin ${number}`);
      await Promise.resolve();
      log.push(`end ${number}`);
      return number;
    });
  const results = await Promise.all([3, 2, 1, 4].map(run));
  assert.deepEqual(results, [3, 2, 1, 4]);
  assert.deepEqual(
    log,
    [1, 2, 3, 4].flatMap((number) => [`begin ${number}`, `end ${number}`]),
  );
});

test('a request that fails does not stop the next one, and its number cannot be used again', async () => {
  const work = new OrderedWork(1);
  const failed = work.runInOrder(1, async () => {
    throw new Error('no');
  });
  await assert.rejects(failed, /no/);
  assert.equal(await work.runInOrder(2, async () => 'yes'), 'yes');
  assert.throws(() => work.reserve(1), { code: 'expired', param: 'seq_id' });
});

test('the first work of a model comes before its numbered requests', async () => {
  const work = new OrderedWork(1);
  const log: string[] = [];
  const first = work.run(async () => {
    await Promise.resolve();
    log.push('created');
  });
  await Promise.all([first, work.runInOrder(1, async () => void log.push('trained'))]);
  assert.deepEqual(log, ['created', 'trained']);
});

test('a client that never sends a number cannot make the server keep everything after it', async () => {
  const work = new OrderedWork(1);
  for (let number = 2; number < 258; number++) work.reserve(number); // while they are written
  assert.throws(() => work.reserve(258), { code: 'rate_limit_exceeded', param: 'seq_id' });
  assert.throws(() => work.reserve(2), { code: 'expired' });
  work.release(7); // it could not be written
  work.reserve(7);
  work.reserve(1); // which the others wait for
});

test('requests that wait for numbers that never arrive can start without them, in order', async () => {
  const work = new OrderedWork(1);
  const log: number[] = [];
  const run = (number: number) => work.runInOrder(number, async () => void log.push(number));
  const early = [5, 3, 4].map(run);
  work.skipMissing();
  await Promise.all(early);
  assert.throws(() => work.reserve(1), { code: 'expired' });
  work.reserve(7); // while it is written, the next one waits for it
  const last = run(8);
  work.skipMissing();
  await run(7);
  await last;
  assert.deepEqual(log, [3, 4, 5, 7, 8]);
});
