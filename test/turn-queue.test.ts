// Tasks of several tenants, one after the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TurnQueue } from '../src/common/turn-queue.ts';

/** A queue whose tasks note when they run. The first one ends when the test says so. */
function createQueue(maxWaiting = 100) {
  const queue = new TurnQueue({ maxWaiting });
  const ran: string[] = [];
  let open = () => {};
  const first = queue.take(
    { tenant: 'first' },
    () => new Promise<void>((resolve) => (open = resolve)),
  );
  const take = (name: string, signal?: AbortSignal) => {
    const taken = queue.take({ tenant: name[0]!, signal }, async () => void ran.push(name));
    taken.catch(() => {}); // the test may look at it later
    return taken;
  };
  const finish = async () => {
    open();
    await first;
    for (let count = -1; count < ran.length; await nextTurn()) count = ran.length;
  };
  return { queue, ran, take, finish };
}

test('T15: tenants take turns, and the tasks of each keep their order', async () => {
  const { ran, take, finish } = createQueue();
  for (const name of ['a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'b2']) void take(name);
  await finish();
  assert.deepEqual(ran, ['a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'a4']);
});

test('T14: a full queue refuses: the tenant that has half of it, then everybody', async () => {
  const { ran, take, finish } = createQueue(4);
  for (const name of ['a1', 'a2']) void take(name);
  await assert.rejects(take('a3'), { code: 'rate_limit_exceeded' });
  for (const name of ['b1', 'c1']) void take(name);
  await assert.rejects(take('d1'), { code: 'overloaded' });
  await finish();
  assert.deepEqual(ran, ['a1', 'b1', 'c1', 'a2']);
  await take('a4');
});

test('a caller that leaves takes its waiting task with it, and only waits no longer for one that runs', async () => {
  const { queue, ran, take, finish } = createQueue();
  const leaving = new AbortController();
  const left = take('a1', leaving.signal);
  void take('a2');
  const reason = new Error('no more time');
  leaving.abort(reason);
  await assert.rejects(left, reason);
  await assert.rejects(take('a3', leaving.signal), reason);
  await finish();
  assert.deepEqual(ran, ['a2']);
  const again = new AbortController();
  let end = () => {};
  const running = queue.take(
    { tenant: 'a', signal: again.signal },
    () => new Promise<void>((resolve) => (end = resolve)),
  );
  again.abort(reason);
  await assert.rejects(running, reason);
  const next = take('b1');
  await nextTurn();
  assert.deepEqual(ran, ['a2'], 'it still runs');
  end();
  await next;
});

test('a task that fails does not hold up the next one', async () => {
  const { queue, ran, take, finish } = createQueue();
  const failed = queue.take({ tenant: 'a' }, () => Promise.reject(new Error('broken')));
  const rejected = assert.rejects(failed, /broken/);
  void take('a1');
  await finish();
  await rejected;
  assert.deepEqual(ran, ['a1']);
});
