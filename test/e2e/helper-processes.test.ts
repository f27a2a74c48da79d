// The memory plan counts every helper process that a server runs: with one of each kind of work there are as many.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { HELPERS } from '../../src/common/job-process.ts';
import { temporaryFolder } from '../fixtures.ts';
import { childrenOf, commandOf, enginePidOf } from '../processes.ts';
import { startServing } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = process.platform === 'linux' ? false : 'reads /proc';

test('T34: the helper processes of a server and its engine are those that its memory plan counts', {
  skip,
}, async (t) => {
  const home = temporaryFolder(t);
  const adapters = path.join(home, 'adapters');
  const patterns = path.join(adapters, 'patterns');
  writeToyAdapter(patterns, 1);
  const file = path.join(patterns, 'adapter_config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...config, target_modules: '.*\\.(q_proj|v_proj)' }));
  const server = await startServing(
    ['--model', path.resolve('models/toy'), '--adapters', adapters],
    home,
  );
  t.after(() => server.child.kill('SIGKILL'));
  const complete = async (body: object) => {
    const response = await fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'base', prompt: 'a', max_tokens: 2, ...body }),
    });
    return { status: response.status, text: await response.text() };
  };
  const constraints = [1, 17_000].map((length) => ({
    structured_outputs: { choice: ['a', 'b'.repeat(length)] },
  }));
  for (const body of [{ model: 'patterns' }, ...constraints]) {
    const { status, text } = await complete(body);
    assert.equal(status, 200, text);
  }
  assert.equal((await complete({ prompt: 'a '.repeat(10_000) })).status, 400, 'too long');
  const helpersOf = (pid: number) =>
    childrenOf(pid).filter((child) => commandOf(child).includes('-worker')).length;
  const found = [helpersOf(server.child.pid!), helpersOf(enginePidOf(server.child.pid!)!)];
  assert.equal(await server.stop(), 0);
  const programs = Object.values(HELPERS).flat();
  const [inServer, inEngine] = ['server', 'engine'].map(
    (name) => programs.filter((program) => program === name).length,
  );
  // The server reads an adapter's patterns only when it publishes the adapter of a job.
  assert.deepEqual(found, [inServer! - 1, inEngine]);
});
