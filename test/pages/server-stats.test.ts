// The figures of the status page, as /metrics/status and /health give them, and their rates over time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetricsStatus } from '../../src/contracts/management-api.ts';
import {
  adapterFacts,
  latencyBetween,
  ratePoints,
  ratesBetween,
  statusOfHealth,
} from '../../src/pages/server-stats.js';
import { readOk, serve } from '../http/served.ts';

/** A status whose time to first token has these cumulative counts up to 0.1, 1 and infinity. */
function measured(...counts: number[]): MetricsStatus {
  const buckets = counts.map((count, i) => ({ le: [0.1, 1, null][i]!, count }));
  return { time_to_first_token: buckets, inter_token_latency: [] } as never;
}

test('latencies cover the time between two readings, and interpolate within a bucket', () => {
  const before = measured(100, 100, 100);
  const latency = (from: MetricsStatus | undefined, to: MetricsStatus) =>
    latencyBetween('time_to_first_token', from, to);
  assert.deepEqual(latency(before, measured(110, 120, 120)), { median: '100 ms', p95: '910 ms' });
  assert.equal(latency(before, measured(140, 140, 140))?.median, '50 ms');
  assert.equal(latency(before, before), undefined);
  assert.equal(latency(before, measured(1, 1, 1)), undefined, 'the server has restarted');
  const slow = { median: '> 1 s', p95: '> 1 s' };
  assert.deepEqual(latency(undefined, measured(0, 0, 4)), slow, 'above the last bound');
  assert.equal(latencyBetween('inter_token_latency', before, before), undefined);
});

test('a served request appears in the figures for admins and for everyone', async () => {
  const { app, post } = serve({ adapters: ['zen'], slotCount: 4 });
  const read = async () => readOk<MetricsStatus>(await app.request('/metrics/status'));
  const before = await read();
  await readOk(await post('/v1/completions', { model: 'zen', prompt: 'abcd', max_tokens: 3 }));
  const after = await read();
  const latency = latencyBetween('time_to_first_token', before, after);
  assert.match(latency!.median, /^[\d.]+ m?s$/);
  const rates = ratesBetween({ at: 0, ...before.engine! }, { at: 2, ...after.engine! });
  assert.deepEqual(rates, { generated: 1.5, prompt: 2 });
  const health = statusOfHealth(await readOk(await app.request('/health')));
  // The memory of the process changes between two readings.
  const { memory_bytes } = after.engine!;
  assert.deepEqual({ ...health.engine, memory_bytes }, after.engine);
  assert.deepEqual(
    health.tiers.map(({ tier, adapters, bytes }) => [tier, adapters, bytes]),
    after.tiers.slice(0, 2).map(({ tier, adapters, bytes }) => [tier, adapters, bytes]),
  );
});

test('without figures of the engine none are made up', () => {
  const nothing = { is_ready: false, engine: null, tiers: [] };
  assert.deepEqual(statusOfHealth({ status: 'restarting', engine: null }), nothing);
});

test('an adapter that is attached does not wait to be loaded', () => {
  const status = { attached: ['a', 'b'], awaited: ['b', 'c'], fetching: 0, is_store_paused: false };
  assert.deepEqual(adapterFacts(status), ['Attached: a, b.', 'Waiting to load: c.']);
});

const at = (at: number, generated_tokens: number, prompt_tokens = 0) => ({
  at,
  generated_tokens,
  prompt_tokens,
});

test("rates continue from the server's history to the page's readings", () => {
  const remembered = [at(0, 0), at(10, 100, 20), at(20, 100)];
  const readings = [at(12, 140, 30), at(14, 150, 30)];
  const [times, generated, prompt] = ratePoints(remembered, readings, 14);
  assert.deepEqual(times, [0, 10, 12, 14]);
  assert.deepEqual(generated, [null, 10, 20, 5]);
  assert.deepEqual(prompt, [null, 2, 5, 0]);
});

test('a missing or restarted engine leaves a gap, and points older than an hour are dropped', () => {
  const away = { at: 10, generated_tokens: null, prompt_tokens: null };
  const [, generated] = ratePoints([at(0, 0), away, at(20, 50), at(30, 10), at(40, 20)], [], 40);
  assert.deepEqual(generated, [null, null, null, null, 1]);
  assert.deepEqual(ratePoints([at(0, 0)], [at(4000, 1)], 4000)[0], [4000]);
  assert.equal(ratesBetween(undefined, at(1, 5)), undefined);
});
