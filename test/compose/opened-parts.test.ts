import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withResolvers } from '../../src/common/waiting.ts';
import { OpenedParts } from '../../src/compose/opened-parts.ts';

test('parts drain together; those opened last close first, one after the other', async () => {
  const opened = new OpenedParts();
  const told: string[] = [];
  const { promise: idle, resolve: becomeIdle } = withResolvers<void>();
  opened.add({
    async drain() {
      told.push(`engine drains, leaving: ${opened.leaving.signal.aborted}`);
      await idle;
    },
  });
  opened.add(undefined);
  opened.add({ close: () => void told.push('store closes') });
  opened.add({
    drain: () => becomeIdle(),
    async close() {
      told.push('port closes');
      await Promise.resolve();
      told.push('port is closed');
    },
  });
  await opened.close();
  assert.deepEqual(told, [
    'engine drains, leaving: true',
    'port closes',
    'port is closed',
    'store closes',
  ]);
});

test('a part that fails to drain or to close leaves none of the others open', async () => {
  const opened = new OpenedParts();
  const closed: string[] = [];
  opened.add({ close: () => void closed.push('first') });
  opened.add({ close: () => Promise.reject(new Error('close')) });
  opened.add({
    drain() {
      throw new Error('drain');
    },
    close: () => void closed.push('last'),
  });
  await assert.rejects(opened.close(), { message: 'drain' });
  assert.deepEqual(closed, ['last', 'first']);
});
