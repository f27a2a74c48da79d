// The real program when its engine process dies or stops, or the server itself is paused.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fetchJson, postJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { enginePidOf } from '../processes.ts';
import { testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { type Serving, serveFor } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

const skip = process.platform === 'linux' ? false : 'needs /proc and signals as on Linux';
const test = testUnless(skip);
const isLong = process.env['LORIKEET_E2E_LONG'] !== undefined;
const home = temporaryFolder();
/** Many times what runs at once: it outlasts what a test does meanwhile. */
const LONG = { prompt: Array(8).fill('The'), max_tokens: 120, n: 8, stream: true };
const NAMES = ['one', 'two', 'three'];
for (const [i, name] of NAMES.entries()) writeToyAdapter(path.join(home, 'served', name), i + 1);

function startServer(t: TestContext): Promise<Serving> {
  const args = ['--model', 'models/toy', '--adapters', path.join(home, 'served'), '--slots', '6'];
  return serveFor(t, args, home);
}

function enginePid({ child }: Serving): number {
  const pid = enginePidOf(child.pid!);
  assert.ok(pid !== undefined, 'there is an engine process');
  return pid;
}

function complete(
  { url }: Serving,
  model: string,
  body: object = {},
  headers: Record<string, string> = {},
): Promise<Response> {
  const whole = { model, prompt: 'The', max_tokens: 4, ignore_eos: true, ...body };
  return postJson(`${url}/v1/completions`, whole, { headers });
}

/** A stream of which the first token has come; answers its whole text. */
async function stream(server: Serving, model: string): Promise<{ whole: Promise<string> }> {
  const response = await complete(server, model, LONG);
  assert.equal(response.status, 200);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value ?? '';
  const rest = async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    return text;
  };
  return { whole: rest() };
}

/** Asks until /readyz has the status; answers its body. */
async function untilReadyzIs(
  { url }: Serving,
  status: number,
  deadlineMs: number,
): Promise<{ status: string }> {
  const find = async () => {
    const response = await fetch(`${url}/readyz`);
    const document = (await response.json()) as { status: string };
    return response.status === status && document;
  };
  return until(`${status} from /readyz`, find, { deadlineMs, pollMs: 50 });
}

test('F01, T30: an engine that is killed while idle is replaced, and /readyz says so meanwhile', async (t) => {
  const server = await startServer(t);
  const pid = enginePid(server);
  process.kill(pid, 'SIGKILL');
  await untilReadyzIs(server, 503, 5_000);
  assert.equal((await fetch(`${server.url}/livez`)).status, 200);
  await untilReadyzIs(server, 200, 60_000);
  assert.notEqual(enginePid(server), pid);
  assert.equal((await complete(server, 'one')).status, 200);
});

test('F02: when the engine is killed, all requests end within a second, a stream without [DONE]', async (t) => {
  const server = await startServer(t);
  const pid = enginePid(server);
  const { whole } = await stream(server, 'one');
  const others = [
    complete(server, 'two', { ...LONG, stream: false }),
    complete(server, 'three', LONG),
  ];
  process.kill(pid, 'SIGKILL');
  const killedAt = performance.now();
  const [text, ...answers] = await Promise.all([whole, ...others]);
  assert.ok(performance.now() - killedAt < 1_000);
  assert.match(text, /engine_restarting/);
  assert.doesNotMatch(text, /\[DONE\]/);
  for (const answer of answers) {
    assert.equal(answer.status, 503);
    assert.match(await answer.text(), /engine_restarting/);
  }
});

async function quarantined({ url }: Serving): Promise<string[]> {
  const { data } = await fetchJson<{ data: { kind: string }[] }>(`${url}/v1/quarantine`);
  return data.map(({ kind }) => kind).sort();
}

test('F02: adapters that ran when the engine was killed twice are served again', async (t) => {
  const server = await startServer(t);
  for (let kills = 0; kills < 2; kills++) {
    const pid = enginePid(server);
    const texts = await Promise.all(NAMES.map((name) => stream(server, name)));
    process.kill(pid, 'SIGKILL');
    const ended = await Promise.all(texts.map(({ whole }) => whole));
    assert.ok(ended.some((text) => text.includes('engine_restarting')));
    await untilReadyzIs(server, 200, 60_000);
  }
  assert.deepEqual(await quarantined(server), []);
  for (const name of NAMES) assert.equal((await complete(server, name)).status, 200, name);
});

test('T32: an adapter in two steps that ended in SIGSEGV is refused with 503 until an operator admits it', async (t) => {
  const server = await startServer(t);
  for (let faults = 0; faults < 2; faults++) {
    const pid = enginePid(server);
    const { whole } = await stream(server, 'one');
    process.kill(pid, 'SIGSEGV');
    assert.match(await whole, /engine_restarting/);
    await untilReadyzIs(server, 200, 60_000);
  }
  const refused = await complete(server, 'one');
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) > 500);
  assert.match(await refused.text(), /"code":"quarantined"/);
  assert.equal((await complete(server, 'two')).status, 200);
  assert.deepEqual(await quarantined(server), ['adapter', 'request']);
  const quarantine = `${server.url}/v1/quarantine`;
  const cleared = await fetchJson<{ released: string[] }>(quarantine, { method: 'DELETE' });
  assert.equal(cleared.released.length, 2);
  assert.equal((await complete(server, 'one')).status, 200);
});

test('F05, T31: a stopped engine makes /readyz 503 within 5 s, /livez stays fast, and it goes on', async (t) => {
  const server = await startServer(t);
  const pid = enginePid(server);
  const { whole } = await stream(server, 'one');
  assert.equal((await fetch(`${server.url}/health`)).status, 200);
  process.kill(pid, 'SIGSTOP');
  try {
    const late = await complete(server, 'two', {}, { 'x-request-timeout-ms': '300' });
    assert.equal(late.status, 504);
    assert.match(await late.text(), /"code":"deadline_exceeded"/);
    assert.deepEqual(await untilReadyzIs(server, 503, 5_000), { status: 'stalled' });
    for (const [route, status] of [
      ['/livez', 200],
      ['/readyz', 503],
      ['/health', 503],
    ] as const) {
      const askedAt = performance.now();
      const response = await fetch(`${server.url}${route}`);
      assert.equal(response.status, status);
      const text = await response.text();
      const ms = performance.now() - askedAt;
      assert.match(text, status === 200 ? /live/ : /"status":"stalled"/);
      if (route === '/health') {
        assert.match(text, /"slots":6/, 'the latest figures');
        assert.doesNotMatch(text, /"[a-z]+[A-Z]\w*":/);
      }
      t.diagnostic(`${route} answered in ${ms.toFixed(1)} ms`); // their limit is 50 ms, see test/http/health.test.ts
      assert.ok(ms < 1_000);
    }
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await untilReadyzIs(server, 200, 10_000);
  assert.match(await whole, /data: \[DONE\]/);
  assert.equal(enginePid(server), pid);
});

const tooLong = isLong ? skip : 'LORIKEET_E2E_LONG is not set';
for (const [what, isWhole] of [
  ['the server', false],
  ['the server and its engine, as when a machine is suspended,', true],
] as const) {
  testUnless(tooLong)(`a pause of ${what} for 66 s ends nothing`, async (t) => {
    const server = await startServer(t);
    const pid = enginePid(server);
    const pids = [server.child.pid!, ...(isWhole ? [pid] : [])];
    const { whole } = await stream(server, 'one');
    for (const one of pids) process.kill(one, 'SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 66_000)); // the fault needs the time itself
    for (const one of pids) process.kill(one, 'SIGCONT');
    assert.match(await whole, /data: \[DONE\]/);
    assert.equal(enginePid(server), pid);
    assert.doesNotMatch(server.output.error, /killed/);
  });
}
