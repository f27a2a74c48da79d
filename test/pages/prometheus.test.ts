// The status page reads /metrics and /health as the server writes them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrometheus, quantileBetween, total } from '../../src/pages/prometheus.js';
import {
  latencyBetween,
  ratesBetween,
  statsOfHealth,
  statsOfMetrics,
} from '../../src/pages/server-stats.js';
import { readOk, serve } from '../http/served.ts';

test('names, escaped labels and all forms of values are parsed', () => {
  const samples = parsePrometheus(
    [
      '# HELP a:b_total What # it {is}="x"',
      '# TYPE a:b_total counter',
      'a:b_total{name="a\\"b\\\\n\\n}",other=""} 12.5 1795603171',
      'a:b_total{name="x",other="y"} 1e3',
      'plain +Inf',
      'odd NaN',
      '',
    ].join('\n'),
  );
  assert.deepEqual(samples.get('a:b_total'), [
    { labels: { name: 'a"b\\n\n}', other: '' }, value: 12.5 },
    { labels: { name: 'x', other: 'y' }, value: 1000 },
  ]);
  assert.equal(total(samples, 'a:b_total'), 1012.5);
  assert.equal(total(samples, 'a:b_total', { name: 'x' }), 1000);
  assert.equal(total(samples, 'a:b_total', { name: 'z' }), undefined);
  assert.equal(total(samples, 'plain'), Number.POSITIVE_INFINITY);
  assert.ok(Number.isNaN(total(samples, 'odd')));
});

/** A histogram with these counts up to 0.1, 1 and infinity, split over two series. */
function histogram(...counts: [number, number, number]) {
  const lines = counts.flatMap((count, i) => {
    const le = ['0.1', '1', '+Inf'][i];
    return [`t_bucket{m="a",le="${le}"} ${count / 2}`, `t_bucket{m="b",le="${le}"} ${count / 2}`];
  });
  return parsePrometheus(lines.join('\n'));
}

test('quantiles cover the time between two readings, and interpolate within a bucket', () => {
  const before = histogram(100, 100, 100);
  const after = histogram(110, 120, 120);
  const at = (quantile: number) => quantileBetween({ name: 't', before, after, quantile });
  assert.equal(at(0.25), 0.05);
  assert.equal(at(0.5), 0.1);
  assert.equal(at(0.75)?.toFixed(6), '0.550000');
  assert.equal(quantileBetween({ name: 't', before: after, after, quantile: 0.5 }), undefined);
  // Values above the last bound are reported as the bound.
  const slow = histogram(0, 0, 4);
  assert.equal(quantileBetween({ name: 't', before: undefined, after: slow, quantile: 0.5 }), 1);
  assert.equal(quantileBetween({ name: 'none', before, after, quantile: 0.5 }), undefined);
});

test('a served request appears in the stats from /metrics and from /health', async () => {
  const { app, post } = serve({ adapters: ['zen'], slotCount: 4 });
  const read = async () => statsOfMetrics(await (await app.request('/metrics')).text());
  const before = { atMs: 0, stats: await read() };
  assert.equal(before.stats.admin!.adapters.length, 0);
  await readOk(await post('/v1/completions', { model: 'zen', prompt: 'abcd', max_tokens: 3 }));
  const after = { atMs: 2000, stats: await read() };
  const { isReady, slots, running, waiting, promptTokens, generatedTokens, tiers, admin } =
    after.stats;
  assert.deepEqual([isReady, slots, running, waiting], [true, 4, 0, 0]);
  assert.deepEqual([promptTokens, generatedTokens], [4, 3]);
  assert.deepEqual(ratesBetween(before, after), { generated: 1.5, prompt: 2 });
  assert.deepEqual(
    tiers.map(({ name }) => name),
    ['slot', 'ram', 'disk'],
  );
  const [busiest] = admin!.adapters;
  assert.deepEqual(busiest, { adapter: 'zen', tenant: 'shared', requests: 1, input: 4, output: 3 });
  const first = latencyBetween('vllm:time_to_first_token_seconds', before.stats.admin, admin!);
  assert.ok(first && first.median > 0 && first.p95 >= first.median);
  assert.ok(admin!.startedS > 1e9);
  const health = statsOfHealth(await readOk(await app.request('/health')));
  const { admin: _, ...shown } = after.stats;
  assert.deepEqual(
    [health.slots, health.promptTokens, health.generatedTokens],
    [shown.slots, 4, 3],
  );
  assert.equal(health.admin, undefined);
});

test('a restarted or missing engine has no rate', () => {
  const engine = (generatedTokens: number) =>
    statsOfHealth({
      status: 'ready',
      engine: {
        ...{ running: 0, waiting: 0, slotCount: 4, kvUsage: 0, promptTokens: 0 },
        ...{ generatedTokens, residentMemoryBytes: 1, attachedAdapters: [] },
        ...{ prefixQueryTokens: 8, prefixHitTokens: 6 },
        prefixCache: { bytes: 5, capacityBytes: 7 },
        adapterCache: { adapters: 2, bytes: 3 },
      },
    });
  const reading = (atMs: number, tokens: number) => ({ atMs, stats: engine(tokens) });
  assert.equal(ratesBetween(reading(0, 10), reading(1000, 5)), undefined);
  assert.equal(ratesBetween(undefined, reading(1000, 5)), undefined);
  assert.deepEqual(engine(1).tiers[1], { name: 'ram', adapters: 2, bytes: 3 });
  const prefixCache = { queryTokens: 8, hitTokens: 6, bytes: 5, capacityBytes: 7 };
  assert.deepEqual(engine(1).prefixCache, prefixCache);
  const away = statsOfHealth({ status: 'restarting', engine: null });
  assert.deepEqual([away.isReady, away.slots, away.running], [false, 0, 0]);
});
