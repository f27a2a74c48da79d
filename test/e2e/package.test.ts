// The npm tarball as users get it: packed, installed into an empty folder without scripts, and run there.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { postJson } from '../api.ts';
import { whenServed } from './program.ts';

const root = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-installed-'));
const installed = path.join(root, 'node_modules', 'lorikeet');
const TOY = path.join(installed, 'models', 'toy');
/** The largest tarball that is pleasant to install: the bundle, the toy base and the demo adapters. */
const MAX_TARBALL_BYTES = 14_000_000;

after(() => rmSync(root, { recursive: true, force: true }));

const environment = () => {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('LORIKEET_'));
  return { ...Object.fromEntries(others), LORIKEET_HOME: path.join(root, 'home') };
};

test('T42: the tarball installs into an empty folder, without scripts, and serves', async (t) => {
  const out = path.join(root, 'out');
  const packed = execFileSync('npm', ['run', '--silent', 'package', '--', '--out', out], {
    encoding: 'utf8',
  });
  const tarball = packed.trimEnd().split('\n').at(-1)!;
  assert.ok(readFileSync(tarball).byteLength < MAX_TARBALL_BYTES);
  writeFileSync(path.join(root, 'package.json'), '{"private":true}');
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball];
  const { status, stderr } = spawnSync('npm', install, { cwd: root, encoding: 'utf8' });
  if (/ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN/.test(stderr)) return t.skip('no npm registry');
  assert.equal(status, 0, stderr);

  const { dependencies, exports, devDependencies } = JSON.parse(
    readFileSync(path.join(installed, 'package.json'), 'utf8'),
  );
  const bill = JSON.parse(readFileSync(path.join(installed, 'sbom.cdx.json'), 'utf8'));
  assert.equal(bill.bomFormat, 'CycloneDX');
  assert.deepEqual(exports, { './package.json': './package.json' });
  assert.equal(devDependencies, undefined);
  assert.ok(Object.keys(dependencies).length < 10);

  const args = ['lorikeet', 'serve', '--port', '0', '--model', TOY];
  const child = spawn('npx', args, {
    ...{ cwd: root, env: environment(), detached: true },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => process.kill(-child.pid!, 'SIGTERM'));
  const url = await whenServed(child);
  const response = await postJson(`${url}/v1/completions`, {
    model: 'base',
    prompt: 'Alice',
    max_tokens: 4,
  });
  assert.equal(response.status, 200, await response.text());
});

test("without the runtime's library the start ends with what to do: exit 78", (t) => {
  const { platform, arch } = process;
  const library = `node_modules/onnxruntime-node/bin/napi-v6/${platform}/${arch}/libonnxruntime.so.1`;
  const file = path.join(root, library);
  try {
    renameSync(file, `${file}.away`);
  } catch {
    return t.skip('the tarball is not installed, or this is not Linux');
  }
  const args = ['lorikeet', 'serve', '--port', '0', '--model', TOY];
  const options = { cwd: root, env: environment(), encoding: 'utf8' } as const;
  const { status, stderr } = spawnSync('npx', args, options);
  assert.equal(status, 78, stderr);
  assert.match(stderr, /has no library for \w+ \w+: .*libonnxruntime.* install the package again/);
  assert.doesNotMatch(stderr, /crashed|at locateLibrary/);
});
