// Data that are polled: an answer that is older than what is shown is dropped, and the end of polling.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type Resolvers, withResolvers } from '../../src/common/waiting.ts';
import { ApiError } from '../../src/pages/api.ts';
import { pagedQuery } from '../../src/pages/store/pages.ts';
import { query } from '../../src/pages/store/query.ts';

/** A server that answers when the test says so, in the order of its reads. */
function slowServer<T>() {
  const reads: Resolvers<T>[] = [];
  const read = () => {
    reads.push(withResolvers<T>());
    return reads.at(-1)!.promise;
  };
  return { read, reads };
}

test('the answer of a slow poll does not replace a change', async () => {
  const { read, reads } = slowServer<string>();
  const job = query(read);
  const poll = job.refresh();
  job.set('cancelled');
  reads[0]!.resolve('running');
  assert.equal(await poll, undefined);
  assert.equal(job.data.value, 'cancelled');
});

test('of two reads the later one counts, whatever comes first', async () => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const { read, reads } = slowServer<string>();
    const adapter = query(read);
    const all = [adapter.refresh(), adapter.refresh()];
    for (const i of order) {
      if (i === 0) reads[0]!.reject(new Error('an old problem'));
      else reads[1]!.resolve('version 2');
      await setImmediate();
    }
    await Promise.all(all);
    assert.deepEqual([adapter.data.value, adapter.problem.value], ['version 2', '']);
  }
});

test('a file that was deleted during a slow refresh does not come back', async () => {
  const pages = slowServer<{ data: { id: string }[]; has_more: boolean }>();
  const files = pagedQuery<{ id: string }>('v1/files', pages.read);
  const page = { data: [{ id: 'a' }, { id: 'b' }], has_more: false };
  void files.refresh();
  pages.reads[0]!.resolve(page);
  await setImmediate();
  const slow = files.refresh();
  files.remove('a');
  pages.reads[1]!.resolve(page);
  await slow;
  assert.deepEqual(files.items.value, [{ id: 'b' }]);
});

test('data stay if a read fails, go if they are missing, and both say why', async () => {
  let answer: Promise<string> = Promise.resolve('data');
  const list = query(() => answer, { isFinal: (data) => data === 'final' });
  assert.ok(!list.isRead.value);
  assert.equal(await list.refresh(), undefined);
  const failWith = (status: number, retryAfterS = 0) => {
    answer = Promise.reject(new ApiError(`status ${status}`, { status, retryAfterS }));
    return list.refresh();
  };
  assert.equal(await failWith(429, 3), 3_000);
  assert.equal(await failWith(401), 'done');
  assert.deepEqual([list.data.value, list.problem.value], ['data', 'status 401']);
  assert.equal(await failWith(404), 'done');
  assert.deepEqual([list.data.value, list.isMissing.value], [undefined, true]);
  assert.ok(list.isRead.value);
  answer = Promise.resolve('final');
  assert.equal(await list.refresh(), 'done');
  assert.deepEqual([list.problem.value, list.isMissing.value], ['', false]);
});
