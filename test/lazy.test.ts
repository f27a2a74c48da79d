// A lazy value keeps a success and forgets a failure.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lazy } from '../src/common/lazy.ts';

test('callers share one value, even while it is being computed', async () => {
  let made = 0;
  const value = lazy(async () => ++made);
  assert.deepEqual(await Promise.all([value.get(), value.get()]), [1, 1]);
  assert.equal(await value.get(), 1);
});

test('a failure reaches the callers that waited for it, and the next caller tries again', async () => {
  let tries = 0;
  const value = lazy(async () => {
    if (++tries === 1) throw new Error('EMFILE');
    return tries;
  });
  const waiting = [value.get(), value.get()];
  for (const one of waiting) await assert.rejects(one, /EMFILE/);
  assert.equal(await value.get(), 2);
  assert.equal(await value.get(), 2);
});

test('a function that throws synchronously behaves the same', async () => {
  let tries = 0;
  const value = lazy(() => {
    if (++tries === 1) throw new Error('EMFILE');
    return Promise.resolve(tries);
  });
  await assert.rejects(value.get(), /EMFILE/);
  assert.equal(await value.get(), 2);
});

test('peek does not compute the value', async () => {
  let isBroken = true;
  const value = lazy(async () => {
    if (isBroken) throw new Error('EMFILE');
    return 'made';
  });
  assert.equal(value.peek(), undefined);
  await assert.rejects(value.get(), /EMFILE/);
  assert.equal(value.peek(), undefined);
  isBroken = false;
  await value.get();
  assert.equal(await value.peek(), 'made');
});
