// The command from start to end: import, serve, drain, faults. On the golden two-layer llama, in its own processes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test as always, before } from 'node:test';
import type { Completion } from '../../src/contracts/openai.ts';
import { ask, postJson } from '../api.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { runLorikeet, startServing, succeed } from './program.ts';

const source = sharedPath('golden', 'models', 'llama-tied');
const test = testUnless(skipUnless(source));
const home = mkdtempSync(path.join(tmpdir(), 'lorikeet-e2e-'));
const base = path.join(home, 'models', 'tied');
after(() => rmSync(home, { recursive: true, force: true }));

before(async () => {
  if (!source) return;
  await succeed(['import', source, '--out', base], home);
});

const completion = { model: 'base', prompt: [1, 2, 3], temperature: 0, ignore_eos: true };

function post(url: string, body: Record<string, unknown>): Promise<Response> {
  return postJson(`${url}/v1/completions`, body);
}

test('import --json prints its result as JSON', async () => {
  const out = path.join(home, 'flat');
  const args = ['import', source!, '--out', out, '--double-quantization', 'false', '--json'];
  const { code, out: json } = await runLorikeet(args, home);
  assert.equal(code, 0);
  const { directory, name, doubleQuantization } = JSON.parse(json);
  assert.deepEqual([directory, name, doubleQuantization], [out, 'llama-tied', false]);
});

test('an imported base is served by its name, and SIGTERM ends with 0', async () => {
  const server = await startServing(['--model', 'tied'], home);
  assert.equal((await fetch(`${server.url}/health`)).status, 200);
  const body = { ...completion, max_tokens: 4 };
  const { usage } = await ask<Completion>(`${server.url}/v1/completions`, body);
  assert.equal(usage.completion_tokens, 4);
  assert.equal(await server.stop(), 0);
});

test('F24, T33: a stream under way is finished before SIGTERM ends the server', async () => {
  const server = await startServing(['--model', 'tied'], home);
  const response = await post(server.url, { ...completion, max_tokens: 100, stream: true });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value ?? '';
  const stopped = server.stop();
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  assert.match(text, /"finish_reason":"length"/);
  assert.match(text, /data: \[DONE\]\n\n$/);
  assert.equal(await stopped, 0);
});

test('a port in use is a failure that ends every process', async () => {
  const first = await startServing(['--model', 'tied'], home);
  const { port } = new URL(first.url);
  const second = await runLorikeet(['serve', '--model', 'tied', '--port', port], home);
  assert.equal(second.code, 1);
  assert.match(second.error, /EADDRINUSE/);
  assert.equal(await first.stop(), 0);
});

test('B67: settings that do not fit the model exit with 78', async () => {
  const args = ['serve', '--port', '0', '--model', 'tied', '--max-seq', '1000000'];
  const { code, error } = await runLorikeet(args, home);
  assert.equal(code, 78, error);
});

test('a base of a form that this version cannot run exits with 78 and the reason', async () => {
  const other = path.join(home, 'models', 'other');
  cpSync(base, other, { recursive: true });
  const file = path.join(other, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...config, hidden_act: 'relu' }));
  const { code, error } = await runLorikeet(['serve', '--model', 'other'], home);
  assert.equal(code, 78);
  assert.match(error, /^lorikeet: --model: .*other: hidden_act: "relu" is not supported/);
});

test('a store folder that is not there exits with 78 and creates nothing', async () => {
  for (const store of [path.join(home, 'no store'), path.join(base, 'config.json')]) {
    const args = ['serve', '--port', '0', '--model', 'tied', '--store', store];
    const { code, error } = await runLorikeet(args, home);
    assert.equal(code, 78, error);
    assert.equal(error.trim().split('\n').length, 1, error);
    assert.match(
      error,
      /^lorikeet: --store: The folder .* does not exist\. Create it, or check the path/,
    );
  }
  assert.ok(!existsSync(path.join(home, 'no store')));
});

test('a terminal that is closed ends a server like SIGTERM: streams are finished', async () => {
  const server = await startServing(['--model', 'tied'], home);
  const response = await post(server.url, { ...completion, max_tokens: 100, stream: true });
  const closed = once(server.child, 'close');
  server.child.kill('SIGHUP');
  assert.match(await response.text(), /data: \[DONE\]\n\n$/);
  assert.deepEqual(await closed, [0, null]);
});

always('a model that does not exist exits with 78', async () => {
  const { code, error } = await runLorikeet(['serve', '--model', 'nowhere'], home);
  assert.equal(code, 78);
  assert.match(error, /^lorikeet: --model: /);
});
