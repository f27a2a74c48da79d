// GET /metrics/status: the same figures as /metrics, with the same access.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metricsStatusSchema } from '../../src/contracts/management-api.ts';
import { readStatus } from '../../src/telemetry/status.ts';
import { Telemetry } from '../../src/telemetry/telemetry.ts';
import { serveKeyed } from '../http/keyed.ts';
import { readOk, type Served, serve } from '../http/served.ts';
import { parsePrometheusText } from './prometheus-parser.ts';

const read = async ({ app }: Served) =>
  metricsStatusSchema.parse(await readOk(await app.request('/metrics/status')));

const URL = '/v1/completions';

test('every figure is the one of /metrics', async () => {
  const served = serve({ adapters: ['zen', 'yak'], slotCount: 4 });
  for (const [model, max_tokens] of [
    ['base', 2],
    ['zen', 3],
    ['yak', 9],
  ]) {
    await readOk(await served.post(URL, { model, prompt: 'abcd', max_tokens }));
  }
  await served.post(URL, { model: 'nobody', prompt: 'abcd' });
  const status = await read(served);
  const families = parsePrometheusText(await (await served.app.request('/metrics')).text());
  const samples = [...families.values()].flatMap((family) => family.samples);
  const sum = (name: string, labels: Record<string, string> = {}) =>
    samples
      .filter((sample) => sample.name === name)
      .filter((sample) => Object.entries(labels).every(([k, v]) => sample.labels[k] === v))
      .reduce((total, { value }) => total + value, 0);
  const { memory_bytes, cpu_s, ...engine } = status.engine!;
  assert.ok(status.is_ready && memory_bytes > 0 && cpu_s > 0);
  assert.deepEqual(engine, {
    running: 0,
    waiting: 0,
    slots: 4,
    steps: sum('lorikeet_engine_steps_total'),
    kv_usage: sum('vllm:kv_cache_usage_perc'),
    prompt_tokens: 12,
    generated_tokens: 14,
    prefix_query_tokens: sum('vllm:prefix_cache_queries_total'),
    prefix_hit_tokens: sum('vllm:prefix_cache_hits_total'),
    prefix_bytes: sum('lorikeet_prefix_cache_bytes'),
    prefix_capacity_bytes: sum('lorikeet_prefix_cache_capacity_bytes'),
  });
  assert.deepEqual(status.usage, [
    { model: 'toy', tenant: null, requests: 1, input_tokens: 4, output_tokens: 2 },
    { model: 'yak', tenant: 'shared', requests: 1, input_tokens: 4, output_tokens: 9 },
    { model: 'zen', tenant: 'shared', requests: 1, input_tokens: 4, output_tokens: 3 },
  ]);
  const buckets = samples.filter(({ name }) => name === 'vllm:time_to_first_token_seconds_bucket');
  assert.deepEqual(
    status.time_to_first_token.map(({ le, count }) => [String(le ?? '+Inf'), count]),
    buckets.map(({ labels, value }) => [labels['le'], value]),
  );
  assert.equal(status.inter_token_latency.at(-1)?.count, 11);
  assert.equal(status.server.started_at, sum('process_start_time_seconds'));
  assert.deepEqual(status.errors, [{ code: 'model_not_found', count: 1 }]);
  assert.equal(status.trainer_cpu_s, null);
});

test('adapters in slots have the names that requests used', async () => {
  const served = serve({ adapters: ['zen'] });
  await readOk(await served.post(URL, { model: 'zen', prompt: 'a', max_tokens: 1 }));
  const { attached, awaited, tiers } = await read(served);
  assert.deepEqual([attached, awaited], [['zen'], []]);
  assert.deepEqual(tiers[0], { tier: 'slot', adapters: 1 });
});

test('the disk tier has its counts, and says whether the store answers', async () => {
  const telemetry = new Telemetry({ id: 'toy', baseDigest: 'b'.repeat(64) });
  const counts = { bytes: 1, adapters: 2, hits: 3, misses: 4, evictions: 5, failed: 6 };
  telemetry.watchDisk(() => ({ ...counts, loaded: 7, fetching: 8, isPaused: true }));
  const { tiers, fetching, is_store_paused } = await readStatus(telemetry.metrics);
  assert.deepEqual(tiers[2], { tier: 'disk', ...counts });
  assert.deepEqual([fetching, is_store_paused], [8, true]);
});

test('before the engine has answered there are no figures of it', async () => {
  const dead = serve();
  await dead.client.drain(0);
  const { is_ready, engine, inter_token_latency } = await read(dead);
  assert.deepEqual([is_ready, engine, inter_token_latency], [false, null, []]);
});

test('with keys it is for admins only, as /metrics is', async () => {
  const { ask, app } = serveKeyed({ tenants: { acme: {}, root: {} }, admins: ['root'] });
  assert.equal((await app.request('/metrics/status')).status, 401);
  assert.equal((await ask('acme', '/metrics/status')).status, 403);
  assert.equal((await ask('root', '/metrics/status')).status, 200);
  const open = serve({ authenticate: () => assert.fail(), hasOpenMetrics: true });
  assert.ok((await read(open)).is_ready);
});
