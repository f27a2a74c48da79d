// A list that is read page by page has each item once, whoever asks for more and whenever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError } from '../../src/pages/api.ts';
import { pagedQuery } from '../../src/pages/store/pages.ts';

const PAGE_SIZE = 20;

/** A server with this many items, the newest last. `reads` are the pages that it was asked for. */
function served(count: number) {
  const ids = Array.from({ length: count }, (_, i) => `job-${i}`);
  const reads: (string | undefined)[] = [];
  const list = pagedQuery<{ id: string }>('v1/things?limit=20', async (path) => {
    const after = new URLSearchParams(path.split('?')[1]).get('after') ?? undefined;
    reads.push(after);
    const newestFirst = ids.toReversed();
    const from = after === undefined ? 0 : newestFirst.indexOf(after) + 1;
    await null; // as a request does, it lets other work run
    const data = newestFirst.slice(from, from + PAGE_SIZE).map((id) => ({ id }));
    return { data, has_more: from + PAGE_SIZE < ids.length };
  });
  return { ids, reads, list, idsOf: () => (list.items.value ?? []).map(({ id }) => id) };
}

test('searches of several keystrokes share the pages that they read', async () => {
  const { ids, reads, list, idsOf } = served(200);
  await list.refresh();
  const search = async () => {
    while (await list.more());
  };
  await Promise.all([search(), search(), search()]);
  assert.deepEqual(idsOf(), ids.toReversed());
  assert.equal(reads.length, 10);
});

test('a page that comes after a refresh with other items, or after a removal, is not added', async () => {
  const { ids, list, idsOf } = served(50);
  await list.refresh();
  const more = list.more();
  ids.push(...Array.from({ length: 30 }, (_, i) => `new-${i}`));
  await list.refresh();
  await more;
  assert.deepEqual(idsOf(), ids.toReversed().slice(0, PAGE_SIZE));
  const next = list.more();
  list.remove(idsOf().at(-1)!);
  await next;
  assert.equal(list.items.value?.length, PAGE_SIZE - 1);
  assert.ok(list.hasMore.value);
});

test('a refresh keeps the older items, and the end of the list', async () => {
  const { ids, list, idsOf } = served(30);
  await list.refresh();
  await list.more();
  await list.more(); // there is no third page
  ids.push('new');
  await list.refresh();
  assert.deepEqual(idsOf(), ids.toReversed());
  assert.equal(list.hasMore.value, false);
});

test('a page that could not be read is asked for again, and the problem says why', async () => {
  let isDown = false;
  const list = pagedQuery<{ id: string }>('v1/things', async (path) => {
    if (isDown) throw new Error('down');
    const isSecond = path === 'v1/things?after=a';
    return { data: [{ id: isSecond ? 'b' : 'a' }], has_more: !isSecond };
  });
  await list.refresh();
  isDown = true;
  assert.equal(await list.more(), false);
  assert.equal(list.problem.value, 'down');
  isDown = false;
  assert.equal(await list.more(), true);
  assert.equal(list.problem.value, '');
  assert.deepEqual(list.items.value, [{ id: 'a' }, { id: 'b' }]);
});

test('polling stops if the server has no such list, and waits as long as it asks', async () => {
  let error = new ApiError('later', { status: 429, retryAfterS: 3 });
  const list = pagedQuery('v1/things', async () => Promise.reject(error));
  assert.equal(await list.refresh(), 3_000);
  assert.equal(list.isMissing.value, false);
  error = new ApiError('none', { status: 404 });
  assert.equal(await list.refresh(), 'done');
  assert.equal(list.isMissing.value, true);
});
