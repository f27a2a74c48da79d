// Adapters that are made to be costly: the real program refuses them, and another tenant does not notice.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { adapterDigest } from '../../adapters/peft/files.ts';
import { postJson } from '../api.ts';
import { quantile } from '../bench/quantile.ts';
import { stream } from '../bench/tiers/stream.ts';
import { enginePidOf, statusKb } from '../processes.ts';
import { until } from '../until.ts';
import {
  createKey,
  runLorikeet,
  type Serving,
  serveFor,
  startServing,
  succeed,
} from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const PATTERN_ADAPTERS = 12;
/** Compiling it takes 2.5 s, beyond the deadline. */
const SLOW = '((?:(a?){10}){10}){10}'.repeat(80);
const WIDE_RANK = 256;
/** One wide adapter takes 1.8 MB, two of them 3.7 MB. */
const CACHE_BYTES = 3 * 2 ** 20;
/** The most memory that the engine may gain while it rejects adapters. Two wide ones and their files take 16 MB. */
const MAX_GROWTH_BYTES = 32 * 2 ** 20;
/** 95 of 100 gaps between tokens and answers; on a busy machine, so many times what they are without the attack. */
const P95_MS = 250;
const MAX_RATIO = 3;
/** All of them. A server that compiled the patterns itself would stand still for longer. */
const MAX_MS = 5000;
/** Refusals that are waited for: they take turns, a second and a new worker each. */
const AWAITED = 2;
/** Between two requests of the other tenant. */
const THINKING_MS = 50;

const home = mkdtempSync(path.join(tmpdir(), 'lorikeet-attacks-'));
const adapters = path.join(home, 'adapters');
const skip = process.platform === 'linux' ? false : 'reads /proc';
let server: Serving;
let good: string;
let attacker: string;
/** What `watch` found without an attack. */
let alone: Record<string, number[]>;

function writeSlowFolder(i: number): string {
  const name = `slow-${i}`;
  cpSync(path.join(adapters, 'fine'), path.join(adapters, name), { recursive: true });
  slowDown(path.join(adapters, name), i);
  return name;
}

/** @returns the configuration's bytes */
function slowDown(folder: string, i: number): Buffer {
  const file = path.join(folder, 'adapter_config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  config.rank_pattern = { q_proj: 4, [`${SLOW}${i}`]: 4 };
  const bytes = Buffer.from(JSON.stringify(config));
  writeFileSync(file, bytes);
  return bytes;
}

/** As whoever can write to the store: published, and then changed so that sizes and digests fit. */
function forgeInStore(published: string, i: number): string {
  const name = `stored-${i}`;
  const root = path.join(home, 'store/attacker');
  cpSync(path.join(root, published), path.join(root, name), { recursive: true });
  const edit = (file: string, changes: object) => {
    const place = path.join(root, name, file);
    const json = { ...JSON.parse(readFileSync(place, 'utf8')), name, ...changes };
    writeFileSync(place, JSON.stringify(json));
    return json;
  };
  const config = slowDown(path.join(root, name, '1'), i);
  const weights = readFileSync(path.join(root, name, '1/adapter_model.safetensors'));
  const { files } = edit('1/manifest.json', {});
  const sha256 = createHash('sha256').update(config).digest('hex');
  edit('1/manifest.json', {
    digest: adapterDigest(config, weights),
    files: { ...files, 'adapter_config.json': { sha256, byteSize: config.length } },
  });
  edit('alias.json', {});
  return name;
}

async function completeAsAttacker(
  model: string,
  signal?: AbortSignal,
): Promise<{ status: number; message: string }> {
  const body = { model, prompt: 'river', max_tokens: 1 };
  const options = { headers: { authorization: `Bearer ${attacker}` }, ...(signal && { signal }) };
  const response = await postJson(`${server.url}/v1/completions`, body, options);
  const { error } = (await response.json()) as { error?: { message: string } };
  return { status: response.status, message: error?.message ?? '' };
}

/** Streams and looks, as the other tenant, until the attack is over. @returns what was measured, in ms */
async function watch(attack: Promise<unknown>) {
  let isOver = false;
  void attack.finally(() => {
    isOver = true;
  });
  const headers = { authorization: `Bearer ${good}` };
  const seen: Record<string, number[]> = { gap: [], '/v1/models': [], '/livez': [] };
  const streaming = async () => {
    do {
      const { gapsMs } = await stream(server.url, { model: 'fine', maxTokens: 60, key: good });
      seen['gap']!.push(...gapsMs);
      await delay(THINKING_MS);
    } while (!isOver);
  };
  const looking = async (place: string) => {
    do {
      const startMs = performance.now();
      const response = await fetch(`${server.url}${place}`, { headers });
      await response.arrayBuffer();
      assert.equal(response.status, 200);
      seen[place]!.push(performance.now() - startMs);
      await delay(THINKING_MS);
    } while (!isOver);
  };
  await Promise.all([streaming(), looking('/v1/models'), looking('/livez'), attack]);
  return seen;
}

function assertUnnoticed(beside: Record<string, number[]>): void {
  for (const [what, allMs] of Object.entries(beside)) {
    const [p95, p95Alone] = [quantile(allMs, 0.95), quantile(alone[what]!, 0.95)];
    const max = Math.max(...allMs);
    const told = `${what}: p95 ${p95} ms (${p95Alone} without the attack), at most ${max} ms`;
    assert.ok(p95 < Math.max(P95_MS, MAX_RATIO * p95Alone), told);
    assert.ok(max < MAX_MS, told);
  }
}

describe('costly adapters', { skip }, () => {
  before(async () => {
    writeToyAdapter(path.join(adapters, 'fine'), 1);
    for (const [i, name] of ['wide', 'wide-2', 'wide-3'].entries()) {
      writeToyAdapter(path.join(adapters, name), 2 + i, WIDE_RANK);
    }
    const keyOf = async (tenant: string) => (await createKey(tenant, home)).key;
    [good, attacker] = [await keyOf('good'), await keyOf('attacker')];
    const args = ['--adapters', adapters, '--adapter-cache', `${CACHE_BYTES}`];
    server = await startServing(['--model', 'models/toy', ...args], home);
    await stream(server.url, { model: 'fine', maxTokens: 20, key: good });
    alone = await watch(delay(1000));
  });
  after(async () => {
    if (server) assert.equal(await server.stop(), 0);
    rmSync(home, { recursive: true, force: true });
  });

  test('B55, T08: patterns that compile slowly are refused by their place, and nobody else waits', async () => {
    const stop = new AbortController();
    const push = ['adapters', 'push', path.join(adapters, 'fine'), '--name', 'own'];
    await succeed([...push, '--tenant', 'attacker'], home);
    const names = Array.from({ length: PATTERN_ADAPTERS }, (_, i) =>
      i % 2 === 0 ? writeSlowFolder(i) : forgeInStore('own', i),
    );
    const asked = names.map((name) => completeAsAttacker(name, stop.signal));
    for (const one of asked.slice(AWAITED)) one.catch(() => {}); // cut off with the test
    const attack = Promise.all(asked.slice(0, AWAITED)).then((answers) => {
      for (const { status, message } of answers) {
        assert.equal(status, 422, message);
        assert.match(message, /rank_pattern\[1\].*(too long|too large)/);
      }
    });
    assertUnnoticed(await watch(attack));
    stop.abort();
  });

  test('compositions over the rank or the cache are refused before they are loaded', async () => {
    const engine = enginePidOf(server.child.pid!)!;
    const beforeBytes = statusKb(engine, 'VmHWM') * 1024;
    const refusals = async () => {
      for (let i = 0; i < 4; i++) {
        const over = await completeAsAttacker(`wide+0.${i + 2}*wide-2+0.5*wide-3`);
        assert.equal(over.status, 422);
        assert.match(over.message, /256 \+ 256 \+ 256 = 768; the limit is 512/);
        const large = await completeAsAttacker(`wide+0.${i + 2}*wide-2`);
        assert.equal(large.status, 422);
        assert.match(
          large.message,
          /takes [\d.]+ MiB in memory, but the adapter cache holds .*--adapter-cache/,
        );
      }
    };
    assertUnnoticed(await watch(refusals()));
    assert.equal(enginePidOf(server.child.pid!), engine, 'the engine lives');
    const grownBytes = statusKb(engine, 'VmHWM') * 1024 - beforeBytes;
    assert.ok(grownBytes < MAX_GROWTH_BYTES, `${grownBytes} bytes more`);
  });

  test('what cannot be served is told at the start and by adapters ls', async (t) => {
    const few = path.join(home, 'few');
    for (const name of ['fine', 'no name', 'slow']) {
      cpSync(path.join(adapters, 'fine'), path.join(few, name), { recursive: true });
    }
    slowDown(path.join(few, 'slow'), -1);
    const started = await serveFor(t, ['--model', 'models/toy', '--adapters', few], home);
    const told = [
      /"name":"slow".*rank_pattern\[1\]/,
      /"name":"no name".*its name cannot be a model name/,
    ];
    for (const line of told) await until(`${line}`, () => line.test(started.output.error));
    const { code, error } = await runLorikeet(['adapters', 'ls'], home, { LORIKEET_ADAPTERS: few });
    assert.equal(code, 0, error);
    assert.match(error, /no name is not served: its name cannot be a model name/);
    assert.match(error, /slow is not served: .*rank_pattern\[1\]/);
    assert.doesNotMatch(error, /fine is not served/);
  });
});
