import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../../src/log.ts';
import { createProcessClient } from '../../src/scheduler/client.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { request, source } from './fake-engine.ts';

test('the watchdog leaves a process alone whose last work ended without a step', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const client = createProcessClient({
    entry: new URL('./fixtures/fake-engine-process.ts', import.meta.url),
    hostOptions: {},
    log: createLog('silent'),
    onFatal: assert.ifError,
  });
  t.after(() => client.drain(0));
  await client.whenReady();
  await new Promise<void>((resolve) => {
    const handle = client.submit('t', source('slow'), request([1]), (event) => {
      if (isTerminal(event)) resolve();
    });
    handle.abort();
  });
  t.mock.timers.tick(60_000);
  assert.equal(client.state, 'ready');
  assert.equal((await client.stats()).waiting, 0);
});
