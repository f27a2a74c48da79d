// The meter of the context asks for nothing while an answer grows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signal } from '@preact/signals';
import { watchContext } from '../../src/pages/playground/context.ts';

test('no request is built while an answer is being written, however often it grows', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let built = 0;
  const draft = signal('a');
  const isBusy = signal(true);
  const settings = {
    models: signal(['base']),
    toBody() {
      built++;
      return { messages: [] };
    },
  };
  const watched = { settings, current: { path: signal([]), draft }, runs: { isBusy } };
  watchContext(watched as unknown as Parameters<typeof watchContext>[0]);
  for (const text of ['ab', 'abc']) draft.value = text;
  assert.equal(built, 0);
  isBusy.value = false;
  assert.equal(built, 1);
});
