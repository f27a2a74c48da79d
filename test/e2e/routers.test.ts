// Three servers behind routers that people use, unchanged: no request is lost, and the ones that look for what a server holds
// find it. The endpoint picker of the Gateway API Inference Extension reads metrics; vllm-router and LiteLLM's proxy read
// nothing.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { readArtifact } from '../../src/import/artifact.ts';
import { postJson } from '../api.ts';
import { QV_R8, writeAdapters } from '../bench/adapters.ts';
import { temporaryFolder } from '../fixtures.ts';
import { freePort } from '../free-port.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { parsePrometheusText } from '../telemetry/prometheus-parser.ts';
import { until } from '../until.ts';
import { findPicker } from './endpoint-picker/picker.ts';
import { outputOf, type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';

const test = testUnless(skipUnlessLong);
const TOY = path.resolve('models/toy');
const SERVERS = 3;
const ADAPTERS = 12;
const REQUESTS = 120;

interface Server {
  readonly serving: Serving;
  readonly metricsPort: number;
}

/** Servers with the same adapters in their folders, none of which is loaded. */
async function startServers(t: TestContext): Promise<readonly Server[]> {
  const home = temporaryFolder(t);
  const adapters = path.join(home, 'adapters');
  writeAdapters(adapters, readArtifact(TOY).config, { shape: QV_R8, count: 2 * ADAPTERS });
  const servers = await Promise.all(
    Array.from({ length: SERVERS }, async (_, i) => {
      const metricsPort = await freePort();
      const model = ['--model', TOY, '--adapters', adapters, '--weights', 'f32'];
      const limits = ['--slots', '8', '--metrics-port', `${metricsPort}`];
      const serving = await startServing([...model, ...limits], path.join(home, `${i}`));
      return { serving, metricsPort };
    }),
  );
  t.after(() => {
    for (const { serving } of servers) serving.child.kill('SIGKILL');
  });
  return servers;
}

/** LiteLLM's proxy starts only with a key. */
const KEY = `sk-${'0123456789abcdef'.repeat(4)}`;
const headers = { authorization: `Bearer ${KEY}` };

async function complete(url: string, model: string, prompt: string): Promise<void> {
  const body = { model, prompt, max_tokens: 4, temperature: 0 };
  const signal = AbortSignal.timeout(60_000);
  const response = await postJson(`${url}/v1/completions`, body, { headers, signal });
  const text = await response.text();
  assert.equal(response.status, 200, text);
}

/** The sum of a metric's samples with these labels, for each server. */
async function read(
  servers: readonly Server[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number[]> {
  return Promise.all(
    servers.map(async ({ serving }) => {
      const text = await (await fetch(`${serving.url}/metrics`)).text();
      const samples = [...parsePrometheusText(text).values()].flatMap((family) => family.samples);
      return samples
        .filter((sample) => sample.name === name)
        .filter((sample) => Object.entries(labels).every(([k, v]) => sample.labels[k] === v))
        .reduce((sum, { value }) => sum + value, 0);
    }),
  );
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]) => sum(values) / values.length;
const topShare = (counts: readonly number[]) => Math.max(...counts) / sum(counts);

/** Six prompts, each with ten endings, one after the other: the share on one server, and the share of cached tokens. */
async function sharedPrefixes(url: string, servers: readonly Server[]) {
  const tokens = async () => [
    sum(await read(servers, 'vllm:prefix_cache_hits_total')),
    sum(await read(servers, 'vllm:prefix_cache_queries_total')),
  ];
  const [hits, queries] = (await tokens()) as [number, number];
  const shares: number[] = [];
  for (let group = 0; group < 6; group++) {
    const start = await read(servers, 'lorikeet_http_responses_total', COMPLETIONS);
    for (let n = 0; n < 10; n++) await complete(url, 'base', `${prefixOf(group)} ${n}`);
    const end = await read(servers, 'lorikeet_http_responses_total', COMPLETIONS);
    shares.push(topShare(end.map((count, i) => count - start[i]!)));
  }
  const [hitsAfter, queriesAfter] = (await tokens()) as [number, number];
  return { share: mean(shares), cached: (hitsAfter - hits) / (queriesAfter - queries) };
}

const COMPLETIONS = { route: '/v1/completions', status: '200' };
/** About 200 characters, of which the first ones differ. */
const prefixOf = (group: number) =>
  `${'abcdef'[group]}${group} ${'the quick brown fox jumps over the lazy dog and '.repeat(4)}`;

/** Requests to twelve adapters that nobody has used: the mean share on an adapter's top server, and the loads. */
async function ofAdapters(
  url: string,
  servers: readonly Server[],
  { first, clients }: { first: number; clients: number },
) {
  const models = Array.from({ length: ADAPTERS }, (_, i) => `${QV_R8.label}-${first + i}`);
  const loads = async () =>
    sum(await read(servers, 'lorikeet_adapter_cache_loads_total', { tier: 'ram', outcome: 'ok' }));
  const before = await loads();
  let next = 0;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < REQUESTS) {
        const n = next++;
        await complete(url, models[n % ADAPTERS]!, `Number ${n}: once upon a time`);
      }
    }),
  );
  const shares: number[] = [];
  for (const adapter of models) {
    const labels = { adapter, outcome: 'ok' };
    shares.push(topShare(await read(servers, 'lorikeet_adapter_requests_total', labels)));
  }
  return { share: mean(shares), loads: (await loads()) - before };
}

interface Figures {
  readonly prefixes: { readonly share: number; readonly cached: number };
  readonly one: { readonly share: number; readonly loads: number };
  readonly nine: { readonly share: number; readonly loads: number };
}

async function measure(t: TestContext, url: string, servers: readonly Server[]): Promise<Figures> {
  const prefixes = await sharedPrefixes(url, servers);
  const one = await ofAdapters(url, servers, { first: 0, clients: 1 });
  const nine = await ofAdapters(url, servers, { first: ADAPTERS, clients: 9 });
  t.diagnostic(JSON.stringify({ prefixes, one, nine }));
  return { prefixes, one, nine };
}

/** Starts a router. Resolves with the first result of `find`, which looks at what the router prints. */
async function start<T>(
  t: TestContext,
  [command, ...args]: readonly [string, ...string[]],
  find: (printed: string) => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LITELLM_MASTER_KEY: KEY, LITELLM_LOCAL_MODEL_COST_MAP: 'True' },
  });
  t.after(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  const output = outputOf(child);
  return until(command, () => {
    const printed = output.out + output.error;
    assert.ok(child.exitCode === null, printed);
    return find(printed);
  });
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url).catch(() => undefined);
  await response?.arrayBuffer();
  return response?.ok === true;
}

test('the endpoint picker sends prompts to their prefixes, and requests to their adapters', async (t) => {
  const picker = findPicker();
  if ('reason' in picker) return t.skip(picker.reason);
  const servers = await startServers(t);
  const addresses = servers.map(
    ({ serving, metricsPort }) => `${new URL(serving.url).host}/${metricsPort}`,
  );
  const command = [picker.file, 'proxy', ...addresses] as const;
  const url = await start(t, command, (printed) => /http:\S+/.exec(printed)?.[0]);
  const { prefixes, one, nine } = await measure(t, url, servers);
  assert.ok(prefixes.share >= 0.99 && prefixes.cached >= 0.7);
  assert.ok(one.share >= 0.99 && one.loads === ADAPTERS);
  assert.ok(nine.share >= 0.6);
});

test('vllm-router keeps shared prefixes together, and loses nothing', async (t) => {
  const python = await pythonWith(path.resolve('test/e2e/vllm-router.txt'));
  if ('reason' in python) return t.skip(python.reason);
  const servers = await startServers(t);
  const port = await freePort();
  const urls = servers.map(({ serving }) => serving.url);
  const args = ['--host', '127.0.0.1', '--port', `${port}`, '--worker-urls', ...urls];
  const url = `http://127.0.0.1:${port}`;
  const command = [python.python, '-m', 'vllm_router.launch_router', ...args] as const;
  await start(t, command, () => answers(`${url}/readiness`));
  const { prefixes } = await measure(t, url, servers);
  assert.ok(prefixes.share >= 0.9);
});

test("LiteLLM's proxy finds every adapter on every server, and retries away from a dead one", async (t) => {
  const python = await pythonWith(path.resolve('test/e2e/litellm-proxy.txt'));
  if ('reason' in python) return t.skip(python.reason);
  const servers = await startServers(t);
  const port = await freePort();
  const config = path.join(temporaryFolder(t), 'config.json'); // JSON is YAML
  const deployments = servers.map(({ serving }) => ({
    model_name: '*',
    litellm_params: {
      model: 'text-completion-openai/*',
      api_base: `${serving.url}/v1`,
      api_key: 'none',
    },
  }));
  const router_settings = { num_retries: 3, allowed_fails: 1, cooldown_time: 60 };
  writeFileSync(config, JSON.stringify({ model_list: deployments, router_settings }));
  const program = 'from litellm import run_server; run_server()';
  const args = ['--config', config, '--host', '127.0.0.1', '--port', `${port}`];
  const url = `http://127.0.0.1:${port}`;
  const command = [python.python, '-c', program, ...args] as const;
  await start(t, command, () => answers(`${url}/health/liveliness`));
  await measure(t, url, servers);
  servers[0]!.serving.child.kill('SIGKILL');
  for (let n = 0; n < 30; n++) await complete(url, `${QV_R8.label}-${n % ADAPTERS}`, `again ${n}`);
});
