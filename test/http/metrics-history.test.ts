// GET /metrics/history: the bounded load of the last hour, with the same access rules as /metrics.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetricsHistory } from '../../src/contracts/management-api.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { StatsHistory } from '../../src/telemetry/stats-history.ts';
import { serveKeyed } from './keyed.ts';
import { readOk, serve } from './served.ts';

test('samples hold totals, oldest first, with a description of the host', async () => {
  const inner = serve();
  let nowMs = 1_000;
  const history = new StatsHistory(inner.client, new Metrics(), () => nowMs);
  const { app } = serve({ history, threads: 3 });
  await history.sample();
  await inner.post('/v1/completions', { model: 'base', prompt: 'abc', max_tokens: 4 });
  nowMs = 11_000;
  await history.sample();
  const answer = await readOk<MetricsHistory>(await app.request('/metrics/history'));
  assert.deepEqual(
    answer.samples.map(({ at, is_ready, generated_tokens, prompt_tokens }) => [
      at,
      is_ready,
      generated_tokens,
      prompt_tokens,
    ]),
    [
      [1, true, 0, 0],
      [11, true, 4, 3],
    ],
  );
  assert.equal(answer.interval_s, 10);
  assert.deepEqual([answer.server.model, answer.server.threads], ['toy', 3]);
  assert.ok(answer.server.cores > 0 && answer.server.processor !== '');
});

test('an hour is remembered and no more; an engine that is gone leaves samples without figures', async () => {
  const { client } = serve();
  let nowMs = 0;
  const history = new StatsHistory(client, new Metrics(), () => nowMs);
  for (; nowMs < 365; nowMs++) await history.sample();
  assert.deepEqual([history.samples.length, history.samples[0]!.atMs], [360, 5]);
  await client.drain(0);
  await history.sample();
  assert.deepEqual(history.samples.at(-1), { atMs: 365, isReady: false, load: undefined });
});

test('with keys it is for admins only, as /metrics is', async () => {
  const { ask, app } = serveKeyed({ tenants: { acme: {}, root: {} }, admins: ['root'] });
  assert.equal((await app.request('/metrics/history')).status, 401);
  assert.equal((await ask('acme', '/metrics/history')).status, 403);
  assert.equal((await ask('root', '/metrics/history')).status, 200);
});
