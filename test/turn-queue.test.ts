// Tasks of several tenants, one after the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
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
  const take = (name: string, signal?: AbortSignal, key?: string) => {
    const taken = queue.take({ tenant: name[0]!, signal }, async () => void ran.push(name), key);
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

test('T15: a task that several want runs once, when it is the turn of any of them', async () => {
  const { ran, take, finish } = createQueue();
  for (const name of ['a1', 'a2', 'a3']) void take(name);
  const shared = ['a4', 'a4', 'b1', 'c1'].map((name) => take(name, undefined, 'shared'));
  for (const name of ['b2', 'c2']) void take(name);
  await finish();
  await Promise.all(shared);
  assert.deepEqual(ran, ['a1', 'a4', 'c2', 'a2', 'b2', 'a3'], 'the task of a4 in the turn of b');
});

test('a task that several want is left by each alone', async () => {
  const { ran, take, finish } = createQueue(4);
  const leaving = new AbortController();
  const reason = new Error('no more time');
  const isLeft = Promise.all(
    ['a1', 'a2', 'b1'].map((name) => {
      const key = name === 'a2' ? 'nobody' : 'somebody';
      return assert.rejects(take(name, leaving.signal, key), reason);
    }),
  );
  const kept = take('b2', undefined, 'somebody');
  leaving.abort(reason);
  await isLeft;
  for (const name of ['a3', 'a4']) void take(name); // those of a no longer count against its half
  await finish();
  await kept;
  assert.deepEqual(ran, ['a1', 'a3', 'a4'], 'of a1 only the caller has left');
});

test('a full tenant may wait for a task that it or another wants already', async () => {
  const { ran, take, finish } = createQueue(4);
  for (const key of ['1', '2']) void take(`a${key}`, undefined, key);
  const again = take('a3', undefined, '2');
  await assert.rejects(take('a4', undefined, '4'), { code: 'rate_limit_exceeded' });
  await finish();
  await again;
  assert.deepEqual(ran, ['a1', 'a2']);
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

const TENANTS = ['a', 'b', 'c', 'd'];
const wantArbitrary = fc.record({
  tenant: fc.constantFrom(...TENANTS),
  key: fc.constantFrom(...'123456789'),
});
const leaveArbitrary = fc.record({ leaves: fc.nat() });
interface Want {
  readonly tenant: string;
  readonly key: string;
}
interface Leave {
  readonly leaves: number;
}

/** Takes the steps, and compares whose task runs with whose turn it may be. */
async function follow(steps: readonly (Want | Leave | 'finish')[]): Promise<void> {
  const queue = new TurnQueue({ maxWaiting: steps.length * 2 });
  const callers: { tenant: string; key: string; place: number; state: string; leave(): void }[] =
    [];
  const waitingOf = (tenant: string) =>
    callers
      .filter((caller) => caller.state === 'waiting' && caller.tenant === tenant)
      .sort((a, b) => a.place - b.place);
  const passes = new Map(TENANTS.map((tenant) => [tenant, 0]));
  const faults: unknown[] = [];
  let running: { key: string; finish(): void } | undefined;

  const run = (key: string) => {
    const isServed = (tenant: string) => waitingOf(tenant).some((caller) => caller.key === key);
    const isOldest = (tenant: string) => waitingOf(tenant)[0]?.key === key;
    if (running) faults.push('two run at once');
    if (!TENANTS.some(isOldest)) faults.push(`${key} runs before an older one of each tenant`);
    for (const tenant of TENANTS) {
      const isPassed = waitingOf(tenant).length > 0 && !isServed(tenant);
      passes.set(tenant, isPassed ? passes.get(tenant)! + 1 : 0);
      if (passes.get(tenant)! >= TENANTS.length) faults.push(`${tenant} is passed over too often`);
    }
    for (const caller of callers) {
      if (caller.key === key && caller.state === 'waiting') caller.state = 'running';
    }
    return new Promise<void>((resolve) => {
      running = { key, finish: resolve };
    });
  };
  const want = ({ tenant, key }: Want) => {
    const leaving = new AbortController();
    const state = running?.key === key ? 'running' : 'waiting';
    // A task keeps its place among those of a tenant until the last caller of the tenant leaves.
    const place = waitingOf(tenant).find((other) => other.key === key)?.place ?? callers.length;
    const caller = { tenant, key, place, state, leave: () => leaving.abort(new Error('left')) };
    callers.push(caller);
    const ended = (expected: string) => {
      if (caller.state !== expected) faults.push(`${key} ends while ${caller.state}`);
      caller.state = 'ended';
    };
    const taken = queue.take({ tenant, signal: leaving.signal }, () => run(key), key);
    taken.then(
      () => ended('running'),
      () => ended('left'),
    );
  };
  const finish = () => {
    running?.finish();
    running = undefined;
  };
  const leave = ({ leaves }: Leave) => {
    const open = callers.filter(({ state }) => state !== 'ended');
    const caller = open[leaves % open.length];
    if (caller) caller.state = 'left';
    caller?.leave();
  };
  for (const step of steps) {
    if (step === 'finish') finish();
    else if ('leaves' in step) leave(step);
    else want(step);
    for (let i = 0; i < 3; i++) await nextTurn();
  }
  for (; running; await nextTurn()) finish();
  for (let i = 0; i < 3; i++) await nextTurn();
  assert.deepEqual(faults, []);
  assert.ok(callers.every(({ state }) => state === 'ended'));
}

test('T15: whatever tenants want, share and leave, each gets its turn after one of each other', async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: wantArbitrary },
    { weight: 1, arbitrary: leaveArbitrary },
    { weight: 2, arbitrary: fc.constant('finish' as const) },
  );
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), follow));
});
