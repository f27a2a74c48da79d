// The figures of the status page, as /metrics/status and /health give them, and their rates over time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetricsStatus } from '../../src/contracts/management-api.ts';
import {
  adapterFacts,
  cpuBetween,
  halfHours,
  latencyBetween,
  ratePoints,
  ratesBetween,
  reasonsOf,
  recentText,
  statusOfHealth,
} from '../../src/pages/status/figures.ts';
import { readOk, serve } from './served.ts';

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
  // The memory of the process changes between two readings, and CPU times are for operators.
  const { cpu_s: _, ...engine } = after.engine!;
  assert.deepEqual({ ...health.engine, memory_bytes: engine.memory_bytes }, engine);
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

const waiting = (changes: object) => ({ state: 'queued', reason: null, ...changes }) as never;
const engine = { running: 2, slots: 2, waiting: 3 } as never;

test('the page says what makes requests slow, and that nothing does', () => {
  const data = [
    waiting({ state: 'loading' }),
    waiting({ reason: 'tenant_share' }),
    waiting({ state: 'prefill', prompt_tokens: 5000 }),
  ];
  const cpu = { server: 0.05, engine: 1, trainer: 0.75, others: undefined };
  assert.deepEqual(reasonsOf({ data, is_training: true }, { engine, cpu, cores: 2 }), [
    'All 2 slots are taken, with 3 requests in the queue.',
    '1 request: the adapter is being loaded.',
    '1 request: the tenant has its share of the slots.',
    '1 request: a prompt of more than 1,000 tokens is being read.',
    'The CPU is busy: the engine 1.0, fine-tuning 0.8 of 2 cores.',
  ]);
  const idle = reasonsOf({ data: [], is_training: false }, { engine: null });
  assert.deepEqual(idle, ['Nothing waits, and the CPU has time left.']);
});

test('what takes the CPU is named, the largest part first, and a job that takes next to none is not', () => {
  const list = { data: [], is_training: true };
  const reasons = (trainer: number, others: number) =>
    reasonsOf(list, {
      engine: null,
      cpu: { server: 0.01, engine: 0.3, trainer, others },
      cores: 2,
    });
  assert.deepEqual(reasons(0.03294, 1.6), [
    'The CPU is busy: other programs 1.6, the engine 0.3 of 2 cores.',
  ]);
  assert.deepEqual(reasons(0.03294, 0), ['Nothing waits, and the CPU has time left.']);
  assert.deepEqual(reasonsOf(list, { engine: null }), [
    'A fine-tuning job runs on the same cores.',
  ]);
});

test('the last requests are summed up, without those that run', () => {
  const of = (outcome: string | null, [waiting_ms, prefill_ms, decode_ms]: (number | null)[]) =>
    ({ outcome, waiting_ms, prefill_ms, decode_ms, output_tokens: 11 }) as never;
  assert.equal(recentText([of(null, [5, null, null])]), '');
  const ended = [
    ...Array.from({ length: 18 }, () => of('ok', [20, 80, 200])),
    of('aborted', [500, 1500, 1000]),
    of('overloaded', [0, null, null]),
  ];
  assert.equal(
    recentText([of(null, [5, null, null]), ...ended]),
    '20 recent requests, 1 failed. First token: median 100 ms, p95 2 s. Each further token: median 20 ms, p95 100 ms.',
  );
  assert.equal(recentText([of('aborted', [0, null, null])]), '1 recent request.');
});

test('CPU times become cores in use; a process that has restarted has none', () => {
  const status = (server: number, own: number, trainer: number | null) =>
    ({
      server: { cpu_s: server },
      engine: { cpu_s: own },
      trainer_cpu_s: trainer,
      machine_cpu_s: 3 * own,
    }) as never;
  const before = { at: 0, status: status(1, 10, 5) };
  const use = cpuBetween(before, { at: 2, status: status(2, 13, null) });
  assert.deepEqual(use, { server: 0.5, engine: 1.5, trainer: undefined, others: 2.5 });
  assert.equal(cpuBetween(before, { at: 2, status: status(2, 3, 6) })?.engine, undefined);
  assert.equal(cpuBetween(undefined, before), undefined);
});

test('each half hour has its own latencies and errors, the newest first', () => {
  const errors = (count: number) => ({ errors: [{ code: 'overloaded', count }] });
  const hours = [
    { at: 0, ...measured(0, 0, 0), ...errors(1) },
    { at: 1800, ...measured(10, 10, 10), ...errors(1) },
  ];
  const shown = halfHours(hours, { ...measured(10, 30, 30), ...errors(4) }, 2000);
  assert.deepEqual(
    shown.map(({ from, first, errors }) => [from, first?.median, errors]),
    [
      [1800, '550 ms', 3],
      [0, '50 ms', 0],
    ],
  );
});
