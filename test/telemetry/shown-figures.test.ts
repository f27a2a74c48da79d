// Metrics have a bounded number of series whatever tenants and adapters come, and stay true if the engine is busy or away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { NO_PREFIX_CACHE } from '../../src/contracts/engine.ts';
import type { EngineReading } from '../../src/telemetry/figures.ts';
import { Telemetry } from '../../src/telemetry/telemetry.ts';
import { until } from '../until.ts';
import { facts } from './facts.ts';
import { parsePrometheusText } from './prometheus-parser.ts';

const base = { id: 'toy', baseDigest: 'b'.repeat(64) };

function answerOne(telemetry: Telemetry, tenant: string, name: string): void {
  const adapter = { key: `${tenant}-${name}`, owner: tenant, name };
  const generation = facts({ tenant, adapter, requestModel: name });
  const observer = telemetry.observe(telemetry.begin(undefined), generation);
  observer.on({ type: 'submitted', index: 0 });
  observer.on({ type: 'accepted', index: 0, adapterUse: { tier: 'ram', loadMs: 0 } });
  observer.on({ type: 'admitted', index: 0, cachedTokens: 0 });
  for (let i = 0; i < 3; i++)
    observer.on({ type: 'token', index: 0, tokenId: 1, text: '', logprob: undefined });
  observer.on({ type: 'finished', index: 0, reason: 'stop', rest: '' });
  observer.completed();
}

async function samplesOf(telemetry: Telemetry, name: string) {
  return parsePrometheusText(await telemetry.text()).get(name)!.samples;
}

test('requests that end after their adapter made room for others leave no series', async () => {
  const telemetry = new Telemetry({ ...base, maxShown: 2 });
  const begun = Array.from({ length: 200 }, (_, i) => {
    const adapter = { key: `${i}`, owner: `tenant-${i}`, name: `adapter-${i}` };
    return telemetry.observe(telemetry.begin(undefined), facts({ tenant: adapter.owner, adapter }));
  });
  for (let i = 0; i < 100; i++) answerOne(telemetry, 'busy', 'one');
  for (const observer of begun) observer.completed();
  const shown = await samplesOf(telemetry, 'lorikeet_adapter_requests_total');
  assert.equal(new Set(shown.map(({ labels }) => labels['adapter'])).size, 3); // and `other`
});

async function seriesOf(telemetry: Telemetry): Promise<number> {
  const families = parsePrometheusText(await telemetry.text());
  return [...families.values()].reduce((sum, { samples }) => sum + samples.length, 0);
}

test('ten thousand adapters of a thousand tenants have no more series than a few', async () => {
  const telemetry = new Telemetry({ ...base, maxShown: 8 });
  for (let i = 0; i < 8; i++) answerOne(telemetry, `tenant-${i}`, `adapter-${i}`);
  answerOne(telemetry, 'tenant-x', 'adapter-x');
  const few = await seriesOf(telemetry);
  for (let i = 0; i < 10_000; i++) answerOne(telemetry, `tenant-${i % 1000}`, `adapter-${i}`);
  assert.ok((await seriesOf(telemetry)) <= few);
});

test('values that are not shown count as other', async () => {
  const telemetry = new Telemetry({ ...base, maxShown: 1 });
  for (const tenant of ['a', 'b', 'c']) answerOne(telemetry, tenant, 'x');
  const samples = await samplesOf(telemetry, 'lorikeet_adapter_requests_total');
  const shown = samples.map(({ labels, value }) => ({ ...labels, value }));
  assert.deepEqual(shown, [
    { tenant: 'a', adapter: 'x', outcome: 'ok', value: 1 },
    { tenant: 'other', adapter: 'other', outcome: 'ok', value: 2 },
  ]);
});

test('the newest use of an adapter is remembered by owner and name', () => {
  let unixMs = 1000;
  const telemetry = new Telemetry({ ...base, unixNow: () => unixMs });
  answerOne(telemetry, 'acme', 'zen');
  unixMs = 2000;
  answerOne(telemetry, 'acme', 'zen');
  assert.equal(telemetry.lastUseOf('acme', 'zen'), 2000);
  assert.equal(telemetry.lastUseOf('other', 'zen'), undefined);
});

test('attached adapters have the names of their last requests', async () => {
  const telemetry = new Telemetry(base);
  const adapter = { key: 'k', owner: 'local', name: 'zen' };
  for (const requestModel of ['zen@1', 'zen@2', 'zen:a', 'zen:b', 'zen', 'zen,quiet', 'zen:a']) {
    telemetry.observe(telemetry.begin(undefined), facts({ requestModel, adapter }));
  }
  telemetry.watchEngine(async () => ({ isReady: true, figures: figures(['k', 'unknown']) }));
  const [sample] = await samplesOf(telemetry, 'vllm:lora_requests_info');
  assert.equal(sample!.labels['running_lora_adapters'], 'zen,zen:a,zen:b,zen@2');
});

test('adapters in memory follow the attached ones, the one used last first, with their last name each', async () => {
  const telemetry = new Telemetry(base);
  for (const [key, ...requested] of [
    ['old'],
    ['warm', 'warm@1', 'warm'],
    ['run', 'run:a', 'run'],
  ]) {
    for (const requestModel of requested.length > 0 ? requested : [key!]) {
      const adapter = { key: key!, owner: 'local', name: key! };
      telemetry.observe(telemetry.begin(undefined), facts({ requestModel, adapter }));
    }
  }
  const residentAdapters = ['old', 'warm', 'run'];
  let maxActiveAdapters = 2;
  const read = () => ({ ...figures(['run']), residentAdapters, maxActiveAdapters });
  telemetry.watchEngine(async () => ({ isReady: true, figures: read() }));
  const listed = async () => {
    const [sample] = await samplesOf(telemetry, 'vllm:lora_requests_info');
    return sample!.labels['running_lora_adapters'];
  };
  assert.equal(await listed(), 'run,warm');
  maxActiveAdapters = 4;
  assert.equal(await listed(), 'old,run,run:a,warm');
});

test('the part for routers has at most 20 kB, whatever adapters are loaded and waited for', async () => {
  const telemetry = new Telemetry(base);
  const names = Array.from({ length: 400 }, (_, i) => `${'n'.repeat(59)}-${i}`);
  for (const name of names) answerOne(telemetry, 'acme', name);
  const keys = names.map((name) => `acme-${name}`);
  const adapters = { attachedAdapters: keys, residentAdapters: keys, waitingAdapters: keys };
  const read = { ...figures([]), ...adapters, maxActiveAdapters: 400 };
  telemetry.watchEngine(async () => ({ isReady: true, figures: read }));
  const text = await telemetry.routerText();
  assert.ok(text.length > 12_000 && text.length <= 20_000, `${text.length} bytes`);
  assert.doesNotMatch(text, /acme/);
  assert.ok((await telemetry.text()).length > 40_000);
});

test('a router learns the blocks of the prefix cache, and older names of vLLM have the same values', async () => {
  const telemetry = new Telemetry(base);
  const prefixCache = { ...NO_PREFIX_CACHE, capacityBlocks: 1456 };
  const used = { kvUsage: 0.25, prefixQueryTokens: 9, prefixHitTokens: 7 };
  const read = { ...figures([]), prefixCache, ...used };
  telemetry.watchEngine(async () => ({ isReady: true, figures: read }));
  const families = parsePrometheusText(await telemetry.text());
  const [cache] = families.get('vllm:cache_config_info')!.samples;
  assert.equal(cache!.labels['block_size'], '16');
  assert.equal(cache!.labels['num_gpu_blocks'], '1456');
  for (const [name, value] of [
    ['gpu_cache_usage_perc', 0.25],
    ['gpu_prefix_cache_queries_total', 9],
    ['gpu_prefix_cache_hits_total', 7],
  ]) {
    assert.equal(families.get(`vllm:${name}`)!.samples[0]!.value, value);
  }
});

test('the delay of an idle event loop is about zero, and that of a blocked one is the block', async () => {
  const telemetry = new Telemetry(base);
  const delays = async () => {
    const families = parsePrometheusText(await telemetry.text());
    const of = (figure: string) =>
      families.get(`nodejs_eventloop_lag_${figure}_seconds`)!.samples[0]!.value;
    return { least: of('p50'), most: of('max') };
  };
  const turns = (count: number) => delay(count * 10);
  // On a busy machine most turns are in time at some moment, too.
  const isInTime = async () => {
    await turns(30);
    return (await delays()).least < 0.009;
  };
  await until('turns in time', isInTime);
  await turns(3);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  await turns(3);
  const { most } = await delays();
  assert.ok(most > 0.15, `${most} s`);
});

test('a busy engine keeps its last figures, one that restarts has no load', async () => {
  const telemetry = new Telemetry(base);
  const readings: EngineReading[] = [
    { isReady: true, figures: { ...figures([]), running: 3, steps: 7 } },
    { isReady: true, figures: undefined },
    { isReady: false, figures: undefined },
  ];
  telemetry.watchEngine(async () => readings.shift()!);
  const shown = [];
  for (let i = 0; i < 3; i++) {
    const families = parsePrometheusText(await telemetry.text());
    const names = [
      'lorikeet_engine_ready',
      'vllm:num_requests_running',
      'lorikeet_engine_steps_total',
    ];
    shown.push(names.map((name) => families.get(name)!.samples[0]!.value));
  }
  assert.deepEqual(shown, [
    [1, 3, 7],
    [1, 3, 7],
    [0, 0, 7],
  ]);
});

function figures(attachedAdapters: string[]) {
  return {
    running: 0,
    waiting: 0,
    slotCount: 4,
    kvUsage: 0,
    steps: 0,
    promptTokens: 0,
    generatedTokens: 0,
    nonFiniteRows: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedDraftTokens: 0,
    forcedTokens: 0,
    prefixQueryTokens: 0,
    prefixHitTokens: 0,
    prefixCache: NO_PREFIX_CACHE,
    residentAdapters: [],
    maxActiveAdapters: 4,
    attachedAdapters,
    waitingAdapters: [],
    residentMemoryBytes: 1,
    cpuSeconds: 1,
    adapterCache: {
      bytes: 0,
      adapters: 0,
      hits: 0,
      misses: 0,
      evictions: 0,
      loaded: 0,
      failed: 0,
    },
  };
}
