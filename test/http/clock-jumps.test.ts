// The clock of the machine is set forward and back while requests run: limits and deadlines count monotonic time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { idle, serve, within } from './served.ts';

const URL = '/v1/completions';
const HOUR_MS = 3_600_000;

test('F23: a clock that jumps by an hour ends no request, and opens no limit', async (t) => {
  const startMs = Date.now();
  t.mock.timers.enable({ apis: ['Date'], now: startMs });
  const limits = { requestsPerMinute: 3 };
  const served = serve({ authenticate: () => ({ ...LOCAL_TENANT, limits }) });
  const jumps = [HOUR_MS, -HOUR_MS, HOUR_MS];
  served.engine.beforeRun = () => t.mock.timers.setTime(startMs + HOUR_MS + (jumps.pop() ?? 0));
  for (let i = 0; i < 3; i++) {
    const answer = await served.post(URL, { model: 'base', prompt: 'a' }, within(60_000));
    assert.equal(answer.status, 200);
  }
  for (const jumpMs of [HOUR_MS, -HOUR_MS]) {
    t.mock.timers.setTime(startMs + HOUR_MS + jumpMs);
    const refused = await served.post(URL, { model: 'base', prompt: 'a' });
    assert.equal(refused.status, 429);
    assert.ok(Number(refused.headers.get('retry-after')) <= 60);
  }
  await idle(served);
});
