// The memory plan counts every helper process that a server runs: with one of each kind of work there are as many. Constraints are
// compiled in the server's only.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { HELPERS } from '../../src/common/job-process.ts';
import { postJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { childrenOf, commandOf, enginePidOf } from '../processes.ts';
import { testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { type Serving, startServing } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

/** Asks for a completion. */
async function complete({ url }: Serving, body: object): Promise<{ status: number; text: string }> {
  const whole = { model: 'base', prompt: 'a', max_tokens: 2, ...body };
  const response = await postJson(`${url}/v1/completions`, whole);
  return { status: response.status, text: await response.text() };
}

function helpersOf(pid: number, program: string): number[] {
  return childrenOf(pid).filter((child) => commandOf(child).includes(program));
}

const skip = process.platform === 'linux' ? false : 'reads /proc';
const test = testUnless(skip);

test('T34: the helper processes of a server and its engine are those that its memory plan counts', async (t) => {
  const home = temporaryFolder(t);
  const adapters = path.join(home, 'adapters');
  const patterns = path.join(adapters, 'patterns');
  writeToyAdapter(patterns, 1);
  const file = path.join(patterns, 'adapter_config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...config, target_modules: '.*\\.(q_proj|v_proj)' }));
  const server = await startServing(['--model', 'models/toy', '--adapters', adapters], home);
  t.after(() => server.child.kill('SIGKILL'));
  const constraints = [1, 17_000].map((length) => ({
    structured_outputs: { choice: ['a', 'b'.repeat(length)] },
  }));
  for (const body of [{ model: 'patterns' }, ...constraints]) {
    const { status, text } = await complete(server, body);
    assert.equal(status, 200, text);
  }
  assert.equal((await complete(server, { prompt: 'a '.repeat(10_000) })).status, 400, 'too long');
  const pid = server.child.pid!;
  const found = [pid, enginePidOf(pid)!].map((of) => helpersOf(of, '-worker').length);
  assert.equal(await server.stop(), 0);
  const programs = Object.values(HELPERS).flat();
  const [inServer, inEngine] = ['server', 'engine'].map(
    (name) => programs.filter((program) => program === name).length,
  );
  // The server reads an adapter's patterns only when it publishes the adapter of a job.
  assert.deepEqual(found, [inServer! - 1, inEngine]);
});

test('a constraint is compiled once, by the server, and an engine that was restarted gets it again', async (t) => {
  const server = await startServing(['--model', path.resolve('models/toy')], temporaryFolder(t));
  t.after(() => server.child.kill('SIGKILL'));
  const pid = server.child.pid!;
  const compilersOf = (of: number) => helpersOf(of, 'compiler-worker');
  const body = { regex: '(yes|no)', max_tokens: 9 };
  const choiceOf = async () => {
    const { status, text } = await complete(server, body);
    assert.equal(status, 200, text);
    return JSON.parse(text).choices[0].text;
  };
  assert.match(await choiceOf(), /^(yes|no)$/);
  const [compiler, ...others] = compilersOf(pid);
  const engine = enginePidOf(pid)!;
  assert.deepEqual([others, compilersOf(engine)], [[], []]);
  process.kill(compiler!, 'SIGKILL');
  await until('the compiler to end', () => compilersOf(pid).length === 0);
  assert.match(await choiceOf(), /^(yes|no)$/);
  process.kill(engine, 'SIGKILL');
  await until('another engine', async () => {
    const next = enginePidOf(pid);
    return next !== undefined && next !== engine && (await fetch(`${server.url}/readyz`)).ok;
  });
  assert.match(await choiceOf(), /^(yes|no)$/);
  assert.deepEqual([compilersOf(pid), compilersOf(enginePidOf(pid)!)], [[], []]);
});
