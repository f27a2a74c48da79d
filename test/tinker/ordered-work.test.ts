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
  assert.throws(() => work.runInOrder(1, async () => {}), { code: 'expired' });
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

test('a client that never sends a number cannot make the server keep everything after it', () => {
  const work = new OrderedWork(1);
  const send = (number: number) => void work.runInOrder(number, async () => {}).catch(() => {});
  for (let number = 2; number < 258; number++) send(number);
  assert.throws(() => send(258), { code: 'rate_limit_exceeded', param: 'seq_id' });
});
