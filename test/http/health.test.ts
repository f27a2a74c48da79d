// The health checks while the engine is busy or silent, in mocked time: the time that they wait is counted, not measured.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createLog } from '../../src/common/log.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { EngineClient } from '../../src/engine-client/client.ts';
import type { EngineChannel } from '../../src/scheduler/protocol.ts';
import { type Served, serve } from './served.ts';

const ROUTES = ['/livez', '/readyz', '/health'];
/** Longer than any of them may wait. */
const END_MS = 100;

/** Asks each route, and returns after how many milliseconds it answers. */
async function answerTimes({ mock }: TestContext, { app }: Served): Promise<object> {
  const times: Record<string, number> = {};
  let nowMs = 0;
  const ask = async (route: string) => {
    await (await app.request(route)).text();
    times[route] = nowMs;
  };
  for (const route of ROUTES) void ask(route);
  for (; nowMs <= END_MS; nowMs++) {
    for (let turns = 0; turns < 20; turns++) await nextTurn();
    mock.timers.tick(1);
  }
  return times;
}

test('T31: no health check waits for a step', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const served = serve();
  const { held, release } = served.engine.hold();
  const answer = served.post('/v1/completions', { model: 'base', prompt: 'a', max_tokens: 1 });
  await held;
  assert.deepEqual(await answerTimes(t, served), { '/livez': 0, '/readyz': 0, '/health': 0 });
  release();
  assert.equal((await answer).status, 200);
});

test('T31: if the engine answers nothing, /livez and /readyz answer at once, and /health after 40 ms', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const client = new EngineClient(() => silentEngine(() => {}), createLog('silent'));
  const times = await answerTimes(t, serve({ client }));
  assert.deepEqual(times, { '/livez': 0, '/readyz': 0, '/health': 40 });
});

test('T31: an engine that answers nothing is asked once, and then /health waits no more', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 0;
  let questions = 0;
  const channel = silentEngine(() => questions++);
  const now = () => nowMs;
  const client = new EngineClient(() => channel, createLog('silent'), undefined, {
    ...systemClock,
    now,
  });
  const served = serve({ client });
  const first = Array.from({ length: 100 }, () => served.app.request('/health'));
  await nextTurn();
  t.mock.timers.tick(40);
  nowMs += 40;
  await Promise.all(first);
  assert.deepEqual(await answerTimes(t, served), { '/livez': 0, '/readyz': 0, '/health': 0 });
  assert.equal(questions, 1);
});

/** Takes messages, and never answers. */
function silentEngine(send: () => void): EngineChannel {
  const model = serve().engine.info;
  return {
    ...{ state: 'ready', model, isProgressing: false },
    whenReady: async () => model,
    send,
    kill() {},
    restart() {},
    async drain() {},
  };
}
