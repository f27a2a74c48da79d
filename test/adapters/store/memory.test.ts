// The driver in memory keeps what every store promises.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryStore } from '../../../adapters/store/memory.ts';
import { bytesOf, readText, storeConformance } from './conformance.ts';

storeConformance({
  name: 'memory',
  open: async () => createMemoryStore(),
  largeBytes: 4 * 2 ** 20,
});

test('bytes that are changed after a put do not change the object', async () => {
  const store = createMemoryStore();
  const bytes = bytesOf('one');
  await store.put('a', bytes);
  bytes.fill(0);
  assert.equal(await readText(store, 'a'), 'one');
});
