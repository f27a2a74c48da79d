// A server loads schemas that several programs share before the library that describes schemas in the API's document.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../../src/contracts/tools.ts';
import '../../src/contracts/training-settings.ts';

test('the HTTP side can be loaded after the contracts', async () => {
  const { createApp } = await import('../../src/http/app.ts');
  assert.equal(typeof createApp, 'function');
});
