// A list that is read page by page has each item once, whoever asks for more and whenever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageList } from '../../src/pages/page-list.js';

const PAGE_SIZE = 20;

/** A server with this many items, the newest last. `reads` are the pages that it was asked for. */
function served(count: number) {
  const ids = Array.from({ length: count }, (_, i) => `job-${i}`);
  const reads: (string | undefined)[] = [];
  const list = new PageList<{ id: string }>(async (after) => {
    reads.push(after);
    const newestFirst = ids.toReversed();
    const from = after === undefined ? 0 : newestFirst.indexOf(after) + 1;
    await null; // as a request does, it lets other work run
    const data = newestFirst.slice(from, from + PAGE_SIZE).map((id) => ({ id }));
    return { data, has_more: from + PAGE_SIZE < ids.length };
  });
  return { ids, reads, list, idsOf: () => list.items.map(({ id }) => id) };
}

test('searches of several keystrokes share the pages that they read', async () => {
  const { ids, reads, list, idsOf } = served(200);
  await list.refresh();
  const search = async () => {
    while (list.hasMore) await list.readMore();
  };
  await Promise.all([search(), search(), search()]);
  assert.deepEqual(idsOf(), ids.toReversed());
  assert.equal(reads.length, 10);
});

test('a page that comes after a refresh with other items, or after a removal, is not added', async () => {
  const { ids, list, idsOf } = served(50);
  await list.refresh();
  const more = list.readMore();
  ids.push(...Array.from({ length: 30 }, (_, i) => `new-${i}`));
  await list.refresh();
  await more;
  assert.deepEqual(idsOf(), ids.toReversed().slice(0, PAGE_SIZE));
  const next = list.readMore();
  list.remove(idsOf().at(-1)!);
  await next;
  assert.equal(list.items.length, PAGE_SIZE - 1);
  assert.ok(list.hasMore);
});

test('a refresh keeps the older items, and the end of the list', async () => {
  const { ids, list, idsOf } = served(30);
  await list.refresh();
  await list.readMore();
  await list.readMore(); // there is no third page
  ids.push('new');
  await list.refresh();
  assert.deepEqual(idsOf(), ids.toReversed());
  assert.equal(list.hasMore, false);
});

test('a page that could not be read is asked for again', async () => {
  let isDown = false;
  const list = new PageList<{ id: string }>(async (after) => {
    if (isDown) throw new Error('down');
    return { data: [{ id: after ? 'b' : 'a' }], has_more: !after };
  });
  await list.refresh();
  isDown = true;
  await assert.rejects(list.readMore(), /down/);
  isDown = false;
  await list.readMore();
  assert.deepEqual(list.items, [{ id: 'a' }, { id: 'b' }]);
});
