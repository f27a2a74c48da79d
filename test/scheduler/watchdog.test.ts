import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createLog } from '../../src/log.ts';
import { createProcessClient, type EngineClient } from '../../src/scheduler/client.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { LOCAL_TENANT } from '../../src/tenant.ts';
import { request, source } from './fake-engine.ts';

/** First prompt token that the fixture takes as an order to hang. */
const HANG = 902;

async function start(t: TestContext): Promise<EngineClient> {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const client = createProcessClient({
    entry: new URL('./fixtures/fake-engine-process.ts', import.meta.url),
    hostOptions: {},
    log: createLog('silent'),
    onFatal: assert.ifError,
  });
  t.after(() => client.drain(0));
  await client.whenReady();
  return client;
}

test('the watchdog leaves a process alone whose last work ended without a step', async (t) => {
  const client = await start(t);
  await new Promise<void>((resolve) => {
    const handle = client.submit(LOCAL_TENANT, source('slow'), request([1]), (event) => {
      if (isTerminal(event)) resolve();
    });
    handle.abort();
  });
  t.mock.timers.tick(60_000);
  assert.equal(client.state, 'ready');
  assert.equal((await client.stats()).waiting, 0);
});

test('the watchdog leaves a process alone that loads an adapter, until a step is due', async (t) => {
  const client = await start(t);
  client.submit(LOCAL_TENANT, source('slow'), request([1]), () => {});
  t.mock.timers.tick(60_000);
  assert.equal(client.state, 'ready');
  await new Promise<void>((resolve) => {
    client.submit(LOCAL_TENANT, source('a'), request([HANG]), (event) => {
      if (event.type === 'accepted') resolve();
    });
  });
  t.mock.timers.tick(60_000);
  assert.equal(client.state, 'restarting');
});
