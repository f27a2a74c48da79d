// The built program as an image runs it: no sources, caches made beforehand, files that nobody may write.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { postJson } from '../api.ts';
import { whenServed } from './program.ts';
import { writeRows } from './rows.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const home = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-built-'));
const installed = path.join(home, 'app');
const data = path.join(home, 'data');
const TOY = path.join(installed, 'models', 'toy');

before(() => {
  mkdirSync(installed);
  for (const name of ['bin', 'models', 'package.json'])
    cpSync(name, path.join(installed, name), { recursive: true });
  symlinkSync(path.resolve('node_modules'), path.join(installed, 'node_modules'));
  const { status, stderr } = spawnSync(
    process.execPath,
    ['scripts/build.mjs', '--out', path.join(installed, 'dist')],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
});

after(() => rmSync(home, { recursive: true, force: true }));

const environment = () => {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('LORIKEET_'));
  return { ...Object.fromEntries(others), LORIKEET_HOME: data };
};

function run(args: readonly string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, ['bin/lorikeet.mjs', ...args], {
    cwd: installed,
    env: { ...environment(), ...env },
    encoding: 'utf8',
  });
}

test('--prewarm builds what a start needs, wherever it would listen, and ends', () => {
  const { status, stdout, stderr } = run(['serve', '--prewarm', '--model', TOY], {
    HOST: '0.0.0.0',
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^toy answers/);
  assert.equal(servingFiles().length, 4); // weights, their layout, their checksums, and the mark that they ran
});

test('--prewarm fails if the base does not start', () => {
  const sizes = ['--slots', '1024', '--max-seq', '9'];
  const { status, stderr } = run(['serve', '--prewarm', '--model', TOY, ...sizes]);
  assert.notEqual(status, 0);
  assert.match(stderr, /max-seq/);
});

test('the next start builds nothing, and serves the base, adapters and pages', async () => {
  const built = servingFiles();
  writeToyAdapter(path.join(home, 'adapters', 'bird'), 1);
  const server = await serve(['--model', TOY, '--adapters', path.join(home, 'adapters')]);
  try {
    for (const model of ['base', 'bird']) {
      const response = await postJson(`${server.url}/v1/completions`, {
        model,
        prompt: 'A bird',
        max_tokens: 4,
      });
      assert.equal(response.status, 200, await response.text());
    }
    const long = await postJson(`${server.url}/tokenize`, {
      messages: Array(300).fill({ role: 'user', content: 'A bird' }),
    });
    assert.equal(long.status, 200, await long.text()); // by a program of its own
    for (const page of ['/', '/docs', '/openapi.json']) {
      assert.equal((await fetch(server.url + page)).status, 200, page);
    }
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    for (const [process, phases] of PHASES) {
      for (const phase of phases) {
        const line = `lorikeet_start_phase_seconds{process="${process}",phase="${phase}"} `;
        assert.ok(metrics.includes(line), line);
      }
    }
  } finally {
    server.child.kill('SIGTERM');
  }
  assert.deepEqual(servingFiles(), built);
});

test('its trainer is found, too', () => {
  const out = path.join(home, 'run');
  const { status, stderr } = run([
    ...['train', '--model', TOY, '--data', writeRows(home), '--epochs', '1', '--out', out],
  ]);
  assert.equal(status, 0, stderr);
});

const PHASES = [
  ['server', ['node', 'imports', 'settings', 'base', 'tokenizer', 'adapters', 'listen', 'engine']],
  ['engine', ['node', 'imports', 'map', 'memory', 'session']],
] as const;

function servingFiles(): string[] {
  const cache = path.join(data, 'cache');
  const [folder] = readdirSync(cache).filter((name) => name.includes('-int8-'));
  return readdirSync(path.join(cache, folder!)).map(
    (name) => `${name} ${statSync(path.join(cache, folder!, name)).mtimeMs}`,
  );
}

async function serve(args: readonly string[]): Promise<{ url: string; child: ChildProcess }> {
  const child = spawn(process.execPath, ['bin/lorikeet.mjs', 'serve', '--port', '0', ...args], {
    cwd: installed,
    env: environment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { child, url: await whenServed(child) };
}
