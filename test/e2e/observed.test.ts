// A server in its own processes as operators and routers watch it: Prometheus's own tools over /metrics, the alerts and the
// dashboard, libzmq for KV events, and a collector for OTLP.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { readArtifact, readArtifactInfo } from '../../src/import/artifact.ts';
import { postJson } from '../api.ts';
import { QV_R8, writeAdapters } from '../bench/adapters.ts';
import { freePort } from '../free-port.ts';
import { pluck } from '../pluck.ts';
import { emptyPod, loraAffinity, scrape } from '../telemetry/endpoint-picker.ts';
import { ALERTS, dashboardQueries } from '../telemetry/infra-files.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../telemetry/otlp-receiver.ts';
import { until } from '../until.ts';
import { findPicker, runPicker, type SeenEndpoint } from './endpoint-picker/picker.ts';
import { type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';

const TOY = path.resolve('models/toy');
const home = mkdtempSync(path.join(tmpdir(), 'lorikeet-observed-'));
const skipPromtool = missing('promtool');
const skipPrometheus = missing('prometheus');

/** Found first: if it has to be built, this process does nothing else for minutes, and connections get old. */
const picker = findPicker();
const kvEvents = `tcp://127.0.0.1:${await freePort()}`;
let server: Serving;
let receiver: OtlpReceiver;

function missing(tool: string): string | false {
  const { error } = spawnSync(tool, ['--version']);
  return error ? `${tool} is not installed (Debian: apt-get install prometheus)` : false;
}

before(async () => {
  receiver = await startOtlpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.url;
  const { config } = readArtifact(TOY);
  const adapters = path.join(home, 'local');
  writeAdapters(adapters, config, { shape: QV_R8, count: 2 });
  const args = ['--model', TOY, '--adapters', adapters, '--kv-events', kvEvents];
  server = await startServing(args, home);
  for (const model of ['qv-r8-0', 'qv-r8-1', 'qv-r8-0', 'base', 'nobody']) {
    assert.equal(await complete(model), model === 'nobody' ? 404 : 200);
  }
});

after(async () => {
  server.child.kill('SIGKILL'); // if a test has not ended it
  await receiver.close();
  rmSync(home, { recursive: true, force: true });
});

/** The status of a completion of eight tokens. */
async function complete(model: string, prompt: string | number[] = 'A bird'): Promise<number> {
  const response = await postJson(`${server.url}/v1/completions`, {
    model,
    prompt,
    max_tokens: 8,
    ignore_eos: true,
  });
  await response.text();
  return response.status;
}

const readMetrics = async () => (await fetch(`${server.url}/metrics`)).text();

test('promtool finds no fault in /metrics but the colons of routers', {
  skip: skipPromtool,
}, async () => {
  const { stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: await readMetrics(),
    encoding: 'utf8',
  });
  const faults = stderr.split('\n').filter((line) => line !== '');
  assert.deepEqual(
    faults.filter((line) => !/^vllm:\S+ metric names should not contain ':'$/.test(line)),
    [],
  );
});

test('promtool finds the alerts sound, and they fire when they are to', {
  skip: skipPromtool,
}, () => {
  for (const args of [
    ['check', 'config', 'prometheus.yaml'],
    ['test', 'rules', 'alerts.test.yaml'],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', args, {
      cwd: path.dirname(ALERTS),
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout + stderr);
  }
});

test('a router sees the adapters in slots, and counts come from the engine process', async () => {
  const text = await readMetrics();
  const pod = scrape(text, emptyPod());
  assert.deepEqual(
    [...pod.activeModels].filter((name) => !/^qv-r8-[01]$/.test(name)),
    [],
  );
  assert.match(text, /^vllm:generation_tokens_total\{model_name="[^"]+"\} 32$/m);
  assert.match(text, /^lorikeet_adapter_cache_hits_total\{tier="ram"\} 1$/m);
  assert.match(text, /^lorikeet_adapter_cache_misses_total\{tier="ram"\} 2$/m);
  assert.match(text, /^lorikeet_adapter_load_duration_seconds_count\{tier="(ram|slot)"\} 1$/m);
  assert.match(text, /^lorikeet_engine_resident_memory_bytes \d{7,}$/m);
});

test('a router that reads it by its own code sees the same, and prefers it for what is there', async (t) => {
  if ('reason' in picker) return t.skip(picker.reason);
  assert.equal(await complete('qv-r8-0'), 200); // it stays in its slot
  const text = await readMetrics();
  const models = ['qv-r8-0', 'qv-r8-1', 'of-another-server'];
  const seen = runPicker<SeenEndpoint>(picker.file, ['metrics', ...models], text);
  const pod = scrape(text, emptyPod());
  const { ActiveModels, WaitingModels, MaxActiveModels } = seen.Metrics;
  assert.deepEqual(new Set(Object.keys(ActiveModels)), pod.activeModels);
  assert.deepEqual(new Set(Object.keys(WaitingModels)), pod.waitingModels);
  assert.equal(MaxActiveModels, 32);
  assert.equal(seen.Metrics.CacheBlockSize, 16);
  assert.ok(seen.Metrics.CacheNumBlocks > 1000, 'the prefix cache, not the slots');
  // What runs, and what else is in memory.
  assert.ok(pod.activeModels.has('qv-r8-0') && !pod.activeModels.has('of-another-server'));
  for (const model of models) {
    assert.equal(seen.Affinity[model], loraAffinity(model, pod), model);
    assert.equal(seen.Affinity[model], pod.activeModels.has(model) ? 1 : 0.8, model);
  }
});

test('a subscriber with libzmq learns which blocks an adapter has computed', async (t) => {
  const python = await pythonWith(path.resolve('test/e2e/kv-events.txt'));
  if ('reason' in python) return t.skip(python.reason);
  const child = spawn(python.python, [path.resolve('test/e2e/kv_events.py'), kvEvents]);
  t.after(() => child.kill('SIGKILL'));
  const messages: [topic: string, sequence: number, batch: [number, KvRow[]]][] = [];
  createInterface(child.stdout).on('line', (line) => messages.push(JSON.parse(line)));
  const promptFrom = (first: number) =>
    Array.from({ length: 40 }, (_, i) => ((first + i) % 90) + 3);
  let first = 0;
  // A subscription takes effect some time after the subscriber's start.
  await until('the first event', async () => {
    await complete('base', promptFrom(first++));
    return messages.length > 0;
  });
  const prompt = promptFrom(first);
  const rows = () => messages.flatMap(([, , [, all]]) => all);
  const ofAdapter = () => rows().filter((row) => row[7] === 'qv-r8-1');
  assert.equal(await complete('qv-r8-1', prompt), 200);
  await until('the last block', () => ofAdapter().flatMap((row) => row[1]).length === 2);
  const [stored] = ofAdapter();
  const [name, hashes, parent, tokenIds, blockSize, loraId, medium] = stored!;
  assert.deepEqual(
    [name, parent, blockSize, loraId, medium],
    ['BlockStored', null, 16, null, 'GPU'],
  );
  assert.equal(hashes.length * 16, tokenIds.length);
  assert.deepEqual(
    ofAdapter().flatMap((row) => row[3]),
    prompt.slice(0, 32),
  );
  assert.equal(messages[0]![0], `kv@${new URL(server.url).host}@${readArtifactInfo(TOY).name}`);
  const numbers = messages.map(([, sequence]) => sequence);
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => numbers[0]! + i),
  );
});

/** A BlockStored event. */
type KvRow = [
  name: string,
  hashes: (number | string)[],
  parent: number | string | null,
  tokenIds: number[],
  blockSize: number,
  loraId: null,
  medium: string,
  loraName: string | null,
];

test('Prometheus scrapes it; every alert is evaluated and every panel answered', {
  skip: skipPrometheus,
}, async () => {
  const prometheus = await startPrometheus();
  const waiting = { pollMs: 200, deadlineMs: 30_000 };
  try {
    const ask = async (api: string): Promise<Answer> =>
      (await fetch(`${prometheus.url}/api/v1/${api}`)).json() as Promise<Answer>;
    const value = async (expr: string) =>
      (await ask(`query?query=${encodeURIComponent(expr)}`)).data.result;
    const isReady = async () => (await value('lorikeet_engine_ready'))[0]?.value[1] === '1';
    await until('a scrape', () => isReady().catch(() => false), waiting);
    const rules = async () => (await ask('rules')).data.groups[0]!.rules;
    const areKnown = async () => (await rules()).every(({ health }) => health !== 'unknown');
    await until('every rule', areKnown, waiting);
    for (const rule of await rules()) {
      assert.equal(rule.health, 'ok', `${rule.name}: ${rule.lastError}`);
    }
    for (const { title, expr } of dashboardQueries()) {
      const answer = await ask(`query?query=${encodeURIComponent(expr)}`);
      assert.equal(answer.status, 'success', `${title}: ${expr}: ${answer.error}`);
    }
  } finally {
    await prometheus.stop();
  }
});

test('a collector has the spans and the metrics when the server has ended', async () => {
  assert.equal(await server.stop(), 0, server.output.error);
  const roots = receiver.spans.filter(({ parentSpanId }) => parentSpanId === '');
  const names = roots.map(({ name }) => name).filter((name) => name.includes('qv-r8-0'));
  assert.deepEqual(new Set(names), new Set(['text_completion qv-r8-0']));
  const [first] = roots.filter(({ name }) => name.endsWith('qv-r8-1'));
  const children = receiver.spans.filter(({ parentSpanId }) => parentSpanId === first!.spanId);
  assert.deepEqual(pluck(children, 'name'), [
    'adapter files',
    'adapter',
    'queue',
    'prefill',
    'decode',
  ]);
  assert.ok(receiver.metrics.some(({ name }) => name === 'gen_ai.server.request.duration'));
  for (const body of receiver.bodies) assert.ok(!body.includes('A bird'));
});

interface Answer {
  status: string;
  error?: string;
  data: { result: { value: [number, string] }[]; groups: { rules: Rule[] }[] };
}

interface Rule {
  name: string;
  health: string;
  lastError?: string;
}

async function startPrometheus(): Promise<{ url: string; stop(): Promise<void> }> {
  const config = path.join(home, 'prometheus.json'); // JSON is YAML
  const target = new URL(server.url).host;
  writeFileSync(
    config,
    JSON.stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [path.resolve(ALERTS)],
      scrape_configs: [{ job_name: 'lorikeet', static_configs: [{ targets: [target] }] }],
    }),
  );
  const port = await freePort();
  const child: ChildProcess = spawn(
    'prometheus',
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(home, 'tsdb')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  );
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}
