// /metrics on a whole server: the series of a request, how a router reads them, and who may read them.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createLog } from '../../src/common/log.ts';
import { describeProcessor } from '../../src/common/processor.ts';
import { withResolvers } from '../../src/common/waiting.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import { createMetricsApp } from '../../src/http/app.ts';
import { Telemetry } from '../../src/telemetry/telemetry.ts';
import { idle, readError, type Served, serve, utf8 } from '../http/served.ts';
import { emptyPod, loraAffinity, scrape } from './endpoint-picker.ts';
import { type ParsedFamily, parsePrometheusText } from './prometheus-parser.ts';

const URL = '/v1/completions';
const request = { model: 'base', prompt: 'ab', max_tokens: 5 };

async function metricsOf({ app }: Served): Promise<Map<string, ParsedFamily>> {
  const response = await app.request('/metrics');
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  return parsePrometheusText(await response.text());
}

/** The only sample of that name with these labels. */
function sampleOf(
  families: Map<string, ParsedFamily>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(count|sum|bucket)$/, ''));
  const found = family?.samples.filter(
    (sample) =>
      sample.name === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  assert.ok((found?.length ?? 0) <= 1, `${name} is ambiguous`);
  return found?.[0]?.value;
}

describe('a request', () => {
  const served = serve({ adapters: ['alpha'] });

  test('is counted with its tokens, times, tenant and adapter', async () => {
    await (await served.post(URL, { ...request, model: 'alpha', n: 2 })).text();
    await (await served.post(URL, { ...request, stream: true })).text();
    const metrics = await metricsOf(served);
    const value = (name: string, labels = {}) => sampleOf(metrics, name, labels);
    assert.equal(value('vllm:prompt_tokens_total'), 6); // each sequence prefills
    assert.equal(value('vllm:generation_tokens_total'), 15);
    assert.equal(value('vllm:request_success_total', { finished_reason: 'length' }), 3);
    assert.equal(value('vllm:time_to_first_token_seconds_count'), 3);
    assert.equal(value('vllm:time_per_output_token_seconds_count'), 12);
    for (const phase of ['queue', 'prefill', 'decode', 'inference']) {
      assert.equal(value(`vllm:request_${phase}_time_seconds_count`), 3, phase);
    }
    const adapter = { tenant: 'shared', adapter: 'alpha' };
    assert.equal(value('lorikeet_adapter_requests_total', { ...adapter, outcome: 'ok' }), 1);
    assert.equal(value('lorikeet_adapter_tokens_total', { ...adapter, type: 'input' }), 2);
    assert.equal(value('lorikeet_adapter_tokens_total', { ...adapter, type: 'output' }), 10);
    assert.equal(value('lorikeet_tenant_tokens_total', { tenant: 'local', type: 'output' }), 15);
    assert.equal(value('lorikeet_adapter_load_duration_seconds_count', { tier: 'disk' }), 2);
    const genAi = { gen_ai_operation_name: 'text_completion', gen_ai_request_model: 'alpha' };
    assert.equal(value('gen_ai_server_request_duration_seconds_count', genAi), 1);
    const output = { ...genAi, gen_ai_token_type: 'output' };
    assert.equal(value('gen_ai_client_token_usage_sum', output), 10);
  });

  test('that is refused is counted by route, status and code, and by no path', async () => {
    await served.post(URL, { ...request, model: 'nobody' });
    await served.app.request('/v1/models/some-name');
    await served.app.request('/no/such/route');
    const metrics = await metricsOf(served);
    const count = (labels: Record<string, string>) =>
      sampleOf(metrics, 'lorikeet_http_responses_total', labels);
    assert.equal(count({ route: URL, status: '404', code: 'model_not_found' }), 1);
    assert.equal(count({ route: '/v1/models/:id', status: '404' }), 1);
    assert.equal(count({ route: 'none', status: '404', code: '' }), 1);
  });

  test('is answered by a processor that is described once', async () => {
    const { model, cores, features } = describeProcessor();
    const labels = { model, cores: String(cores), features: features?.join(',') ?? 'unknown' };
    const metrics = await metricsOf(served);
    assert.equal(sampleOf(metrics, 'lorikeet_processor_info', labels), 1);
  });

  test('that fails in the engine is no success', async () => {
    const failing = serve({ adapters: ['alpha'] });
    failing.leases.beforeLease = () => {
      throw new Error('ENOENT');
    };
    assert.equal((await failing.post(URL, { ...request, model: 'alpha' })).status, 503);
    const metrics = await metricsOf(failing);
    const outcome = 'adapter_unavailable';
    assert.equal(sampleOf(metrics, 'lorikeet_adapter_requests_total', { outcome }), 1);
    assert.equal(sampleOf(metrics, 'vllm:request_success_total'), undefined);
    const failed = { error_type: outcome };
    assert.equal(sampleOf(metrics, 'gen_ai_server_request_duration_seconds_count', failed), 1);
  });

  test('whose client leaves is counted as aborted, once', async () => {
    const served = serve({ reply: () => utf8('x'.repeat(200)) });
    const client = new AbortController();
    const body = { ...request, max_tokens: 200, stream: true };
    const response = await served.post(URL, body, { signal: client.signal });
    await response.body!.cancel();
    await idle(served);
    const metrics = await metricsOf(served);
    assert.equal(sampleOf(metrics, 'lorikeet_tenant_requests_total', { outcome: 'aborted' }), 1);
    assert.equal(sampleOf(metrics, 'vllm:request_success_total', { finished_reason: 'abort' }), 1);
  });
});

describe("a router's endpoint picker", () => {
  const served = serve({ adapters: ['alpha', 'beta', 'gamma'], slotCount: 2 });
  const read = async (existing = emptyPod()) =>
    scrape(await (await served.app.request('/metrics')).text(), existing);

  test('sees which adapters run, which are waited for, and how many fit', async () => {
    const { promise: gate, resolve: open } = withResolvers<void>();
    served.leases.beforeLease = ({ parts }) =>
      parts[0]!.directory.endsWith('beta') ? gate : undefined;
    served.engine.beforeRun = () => gate;
    const alpha = served.post(URL, { ...request, model: 'alpha' });
    const beta = served.post(URL, { ...request, model: 'beta' });
    let pod = await read();
    while (pod.runningQueueSize === 0 || pod.waitingQueueSize === 0) {
      await nextTurn();
      pod = await read();
    }
    assert.deepEqual([...pod.activeModels], ['alpha']);
    assert.deepEqual([...pod.waitingModels], ['beta']);
    assert.equal(pod.maxActiveModels, 2);
    assert.deepEqual(
      ['alpha', 'beta', 'gamma'].map((name) => loraAffinity(name, pod)),
      [1, 0.6, 0],
    );
    open();
    await Promise.all([alpha, beta]);
    await idle(served);
  });

  test('takes the latest series, which says since when it holds', async () => {
    const before = await metricsOf(served);
    const after = await metricsOf(served);
    const [one, ...more] = after.get('vllm:lora_requests_info')!.samples;
    assert.deepEqual(more, []);
    assert.deepEqual(one, before.get('vllm:lora_requests_info')!.samples[0]);
    await (await served.post(URL, { ...request, model: 'gamma' })).text();
    const [changed] = (await metricsOf(served)).get('vllm:lora_requests_info')!.samples;
    assert.match(changed!.labels['running_lora_adapters']!, /gamma/);
    assert.ok(changed!.value > one!.value);
    assert.ok(Math.abs(changed!.value - Date.now() / 1000) < 60, 'Unix seconds');
  });

  test('reads the same without a key from a second port, and no tenants', async () => {
    const telemetry = new Telemetry({ id: 'toy', baseDigest: 'b'.repeat(64) });
    const watched = serve({ adapters: ['alpha'], telemetry });
    await (await watched.post(URL, { ...request, model: 'alpha' })).text();
    const log = createLog('silent');
    const app = createMetricsApp({ telemetry, log, allowedHosts: ['pod.internal'] });
    const response = await app.request('http://pod.internal/metrics');
    assert.equal(response.status, 200);
    const text = await response.text();
    assert.doesNotMatch(text, /tenant|"local"/);
    const whole = await (await watched.app.request('/metrics')).text();
    assert.deepEqual(scrape(text, emptyPod()), scrape(whole, emptyPod()));
    assert.equal((await app.request('http://pod.internal/v1/models')).status, 404);
    assert.equal((await app.request('http://rebound.example/metrics')).status, 400);
  });

  test('reads an engine that restarts as one without work', async () => {
    const dead = serve();
    await dead.client.drain(0);
    const text = await (await dead.app.request('/metrics')).text();
    const families = parsePrometheusText(text);
    assert.equal(sampleOf(families, 'lorikeet_engine_ready'), 0);
    assert.equal(sampleOf(families, 'vllm:num_requests_running'), 0);
  });
});

describe('with keys', () => {
  const tenants = { admin: { isAdmin: true }, other: { isAdmin: false } };
  const served = serve({
    adapters: ['secret-name'],
    authenticate(authorization) {
      const id = authorization === 'Bearer admin' ? 'admin' : 'other';
      return { ...LOCAL_TENANT, ...tenants[id], id };
    },
  });
  const get = (key: string, app = served.app) =>
    app.request('/metrics', { headers: { authorization: `Bearer ${key}` } });

  test('metrics are for admin keys: no tenant reads the names of others', async () => {
    await (await served.post(URL, { ...request, model: 'secret-name' })).text();
    const refused = await get('other');
    assert.equal(refused.status, 403);
    const error = await readError(refused);
    assert.equal(error.code, 'forbidden');
    assert.doesNotMatch(JSON.stringify(error), /secret-name/);
    const shown = await get('admin');
    assert.equal(shown.status, 200);
    assert.match(await shown.text(), /adapter="secret-name"/);
  });

  test('an operator may open them to scrapers', async () => {
    const open = serve({
      authenticate: () => assert.fail('nobody is asked for a key'),
      hasOpenMetrics: true,
    });
    assert.equal((await open.app.request('/metrics')).status, 200);
  });
});
