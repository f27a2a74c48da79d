import assert from 'node:assert/strict';
import { test } from 'node:test';
import { populatePages } from '../../src/ort/libc.ts';

const SIZE = 64 * 2 ** 20;
const skip = process.platform !== 'linux' && 'pages are populated on Linux only';

test('populated memory has its pages and keeps its content, and the rest has none', {
  skip,
}, async () => {
  const bytes = new Uint8Array(2 * SIZE);
  bytes[SIZE / 2] = 7;
  const before = process.memoryUsage.rss();
  await populatePages(bytes.buffer, 0, SIZE);
  const grown = process.memoryUsage.rss() - before;
  assert.ok(grown > 0.8 * SIZE && grown < 1.5 * SIZE, `${grown} bytes`);
  assert.equal(bytes[SIZE / 2], 7);
});

test('a part within one page stays as it is', { skip }, async () => {
  const bytes = new Uint8Array(SIZE);
  await populatePages(bytes.buffer, 10, 20);
  assert.equal(bytes[10], 0);
});
