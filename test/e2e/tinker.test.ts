// Tinker's own Python client against a server, unchanged but for its URL: it trains, samples, saves, resumes and lists. With
// LORIKEET_E2E_LONG: on the real base.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { WEIGHTS_FILE } from '../../adapters/peft/files.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { TinkerRun } from '../../src/contracts/tinker-runs.ts';
import { ask, fetchJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { skipUnlessLong } from '../shared.ts';
import { execute } from './execute.ts';
import { createKey, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';
import { fetchBase } from './served.ts';

const python = await pythonWith(path.resolve('test/e2e/tinker.txt'));
const skip = 'reason' in python ? python.reason : false;

interface Understood {
  names: string[];
  losses: number[];
  lengths: number[];
  sameSamples: boolean;
  difference: number;
  continued: [number, number];
  after: [number, number];
  baseOfSampler: string;
  sameAfterSave: boolean;
  targets: Readonly<Record<'dense' | 'sparse' | 'expected', number[]>>;
  copied: string;
  sameAfterCopy: boolean;
  refused: string;
  checkpoints: string[];
  left: string[];
  rank: number;
  runs: string[];
  models: [string, string];
  weights: string;
  /** Its first run, as pages read it. */
  run: TinkerRun['lorikeet'];
}

const ALIAS = 'meta-llama/Llama-3.2-1B';

async function trainWithClient(
  model: string,
  { tokens, home }: { tokens: readonly number[]; home: string },
): Promise<Understood> {
  assert.ok('python' in python);
  const { key } = await createKey('acme', home, '--prefix', 'tml-');
  assert.match(key, /^tml-lorikeet_/);
  const flags = ['--model', model, '--slots', '4', '--base-alias', ALIAS];
  const server = await startServing(flags, home, { LORIKEET_KEYS: path.join(home, 'keys.json') });
  try {
    const script = path.resolve('test/e2e/tinker_client.py');
    const env = { PATH: process.env['PATH'], TINKER_TELEMETRY: '0', HOME: home };
    const args = [script, server.url, key, ALIAS, JSON.stringify(tokens)];
    const { stdout } = await execute(python.python, args, { env });
    const understood = JSON.parse(stdout.trim().split('\n').at(-1)!) as Understood;
    const body = { model: understood.weights, prompt: tokens.slice(0, 3), max_tokens: 3 };
    const headers = { authorization: `Bearer ${key}` };
    await ask(`${server.url}/v1/completions`, body, { headers }); // a saved path answers as a model
    const url = `${server.url}/api/v1/training_runs/${understood.models[0]}`;
    const described = await fetchJson<TinkerRun>(url, { headers: { 'x-api-key': key } });
    return { ...understood, run: described.lorikeet };
  } finally {
    await server.stop();
  }
}

const BASES = [
  {
    what: 'the toy base',
    skip,
    base: async () => ({ dir: 'models/toy' }),
    tokens: [5, 6, 7, 8, 9, 10, 11, 12],
    count: 24,
  },
  {
    what: 'SmolLM2-135M',
    skip: skip || skipUnlessLong,
    base: fetchBase,
    tokens: [504, 3575, 282, 4649, 314, 7042, 28, 441], // The capital of France is Paris, not
    count: 64,
  },
];

for (const { what, skip, base, tokens } of BASES) {
  test(`Tinker's client trains, samples, saves and resumes on ${what}`, { skip }, async (t) => {
    const model = await base();
    if ('reason' in model) return t.skip(model.reason);
    const result = await trainWithClient(model.dir, { tokens, home: temporaryFolder(t) });
    assert.ok(result.names.includes(ALIAS));
    assert.ok(result.losses.at(-1)! < result.losses[0]! / 2, `${result.losses}`);
    assert.equal(result.lengths[0], result.lengths[1]);
    assert.ok(result.sameSamples && result.sameAfterSave && result.sameAfterCopy);
    const runOfCopy = /^tinker:\/\/(.*)\/sampler_weights\/middle$/.exec(result.copied)?.[1];
    // The engine's weights have 8 bits; with 32 the difference is 2e-6.
    assert.ok(result.difference < 0.15, `sampled and trained differ by ${result.difference}`);
    const { dense, sparse, expected } = result.targets;
    assert.deepEqual(
      dense,
      expected.flatMap((one) => [one, 0]),
    );
    assert.deepEqual(sparse, [expected[1]]);
    assert.equal(result.continued[0], result.continued[1]);
    assert.equal(result.after[0], result.after[1], 'weights and moments are restored exactly');
    assert.equal(result.baseOfSampler, ALIAS);
    assert.match(result.refused, /stable_reinforce|has no public formula/);
    assert.deepEqual(result.checkpoints, ['sampler_weights/middle', 'weights/middle']);
    assert.deepEqual(result.left, ['sampler_weights/middle']);
    assert.equal(result.rank, 8);
    assert.equal(result.run.steps, 9);
    const [[, first] = []] = result.run.losses ?? [];
    const trainedTokens = 7 + 4;
    assert.ok(Math.abs(first! * trainedTokens - result.losses[0]!) < 1e-3, String(first));
    assert.deepEqual(result.runs.sort(), [...result.models, runOfCopy].sort());
  });
}

interface Survived {
  readonly losses: number[];
  readonly norms: number[];
  readonly samples: number[];
  readonly path: string;
}

/** Starts a server that can be killed in the middle of its trainer's work, and started again on its port. */
async function startKillable(model: string, home: string) {
  const start = (port: string) => {
    const args = ['--model', model, '--slots', '2', '--store', home, '--port', port];
    return startServing(args, home, { LOG_LEVEL: 'info' });
  };
  let server = await start('0');
  const killTrainer = () => {
    const started = [...server.output.error.matchAll(/.*"pid":(\d+).*trainer started/g)];
    process.kill(Number(started.at(-1)![1]), 'SIGKILL');
  };
  return {
    url: server.url,
    killTrainer,
    async killServer() {
      const closed = once(server.child, 'close');
      server.child.kill('SIGKILL');
      killTrainer(); // it would end after its task
      await closed;
      server = await start(new URL(server.url).port);
    },
    stop: () => server.stop(),
  };
}

const STEPS = 12;

/** Trains twice with a client, and calls back when these steps are done. */
async function train(
  url: string,
  { home, tokens }: { readonly home: string; readonly tokens: readonly number[] },
  callbacks: Readonly<Record<string, () => unknown>>,
): Promise<[Survived, Survived]> {
  assert.ok('python' in python);
  const script = path.resolve('test/e2e/tinker_survivor.py');
  const args = [script, url, 'tml-none', 'base', JSON.stringify(tokens), `${STEPS}`, '4'];
  const client = spawn(python.python, args, {
    env: { PATH: process.env['PATH'], TINKER_TELEMETRY: '0', HOME: home },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last = '';
  for await (const line of createInterface({ input: client.stdout })) {
    last = line;
    await callbacks[line]?.();
  }
  return JSON.parse(last);
}

/** Reads the weights that a client has saved after those of its first sampler. */
function readWeights(home: string, { path: name }: Survived): Buffer {
  const [, session, number] = /^tinker:\/\/(.*):train:(\d+)\//.exec(name)!;
  const version = path.join(home, LOCAL_TENANT.id, `${session}-${number}`, '2');
  return readFileSync(path.join(version, WEIGHTS_FILE));
}

for (const { what, skip, base, count } of BASES) {
  test(`a client continues after kill -9 of the trainer and of the server, to the same bytes, on ${what}`, {
    skip,
  }, async (t) => {
    const model = await base();
    if ('reason' in model) return t.skip(model.reason);
    const home = temporaryFolder(t);
    const server = await startKillable(model.dir, home);
    try {
      const tokens = Array.from({ length: count }, (_, i) => 5 + ((i * 7) % 50));
      const kills = { 1: server.killTrainer, 4: server.killServer };
      const [killed, undisturbed] = await train(server.url, { home, tokens }, kills);
      assert.deepEqual({ ...killed, path: '' }, { ...undisturbed, path: '' });
      const [bytes, expected] = [killed, undisturbed].map((one) => readWeights(home, one));
      assert.ok(bytes!.equals(expected!), 'the weights are the same to the byte');
      assert.ok(killed.losses.at(-1)! < killed.losses[0]!);
    } finally {
      await server.stop();
    }
  });
}
