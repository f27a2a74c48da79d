// The whole program over a store that fails, fault by fault (threats F06 to F14, T20): each has its answer, streams of an
// adapter that is here go on and keep their tokens, and what the store gives again is served again.
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { testUnless } from '../shared.ts';
import { until } from '../until.ts';
import { type Fault, firstOnes, type SeenRequest } from './fault-proxy.ts';
import { type Asked, type Stage, startStage } from './fault-stage.ts';
import { prepareS3Server } from './s3-server.ts';

const skip = await prepareS3Server();
const test = testUnless(skip);

interface Answer {
  /** Absent: the adapter comes all the same. */
  readonly code?: 'adapter_unavailable' | 'adapter_checksum_mismatch';
  readonly alert?: string;
}

const COMES: Answer = {};
const UNAVAILABLE: Answer = { code: 'adapter_unavailable' };
const MISMATCH: Answer = { code: 'adapter_checksum_mismatch', alert: 'corrupt_object' };

interface Case extends Answer {
  readonly fault: Fault;
  /** Requests that it breaks; absent: all. */
  readonly times?: number;
  /** For the weights, the tries of the store's client and ours. */
  readonly requests?: number;
}

/** Faults while the weights are read. Each case has its own adapter. */
const CASES: Readonly<Record<string, Case>> = {
  'F06-late': { fault: { kind: 'latency', ms: 200 }, requests: 1, ...COMES },
  'F07-500-once': { fault: { kind: 'status', status: 500 }, times: 1, requests: 2, ...COMES },
  'F07-slow-down': { fault: { kind: 'status', status: 503 }, requests: 3, ...UNAVAILABLE },
  'F08-denied': {
    ...{ fault: { kind: 'status', status: 403 }, requests: 1 },
    ...{ ...UNAVAILABLE, alert: 's3_auth' },
  },
  'F09-missing': {
    ...{ fault: { kind: 'status', status: 404 }, requests: 1 },
    ...{ ...UNAVAILABLE, alert: 'dangling_pointer' },
  },
  'F10-cut-at-0': { fault: { kind: 'cut', at: 0 }, times: 1, requests: 2, ...COMES },
  'F10-cut-at-1': { fault: { kind: 'cut', at: 1 }, times: 1, requests: 2, ...COMES },
  'F10-cut-in-the-middle': { fault: { kind: 'cut', at: 700 }, times: 1, requests: 2, ...COMES },
  'F10-cut-for-good': { fault: { kind: 'cut', at: 900 }, requests: 3, ...UNAVAILABLE },
  'F12-extra-bytes': { fault: { kind: 'extra', bytes: 3 }, requests: 2, ...MISMATCH },
  'F12-a-longer-length': { fault: { kind: 'length', by: 5 }, ...UNAVAILABLE },
  'F12-a-shorter-length': { fault: { kind: 'length', by: -5 }, requests: 2, ...MISMATCH },
  'F13-reset-once': { fault: { kind: 'reset' }, times: 1, requests: 2, ...COMES },
  'F13-reset-for-good': { fault: { kind: 'reset' }, requests: 3, ...UNAVAILABLE },
  'F14-expired-once': {
    fault: { kind: 'status', status: 400, code: 'ExpiredToken' },
    ...{ times: 1, requests: 2, ...COMES },
  },
  'F14-expired-for-good': {
    fault: { kind: 'status', status: 400, code: 'ExpiredToken' },
    ...{ requests: 2, ...UNAVAILABLE, alert: 's3_auth' },
  },
  'T20-flipped-once': { fault: { kind: 'flip', at: 900 }, times: 1, requests: 2, ...COMES },
  'T20-flipped-for-good': { fault: { kind: 'flip', at: 900 }, requests: 2, ...MISMATCH },
};

/** Each takes its deadline of some seconds: they are asked for at once. */
const SLOW: Readonly<Record<string, Fault>> = {
  'F06-5-s': { kind: 'latency', ms: 5_500 },
  'F06-silent': { kind: 'silent' },
  'F11-stalled': { kind: 'stall', at: 100 },
};

/** Damaged objects in the bucket. `other` is another adapter of the same size. */
const DAMAGES: Readonly<Record<string, (files: ObjectFiles, other: ObjectFiles) => Answer>> = {
  corrupted({ weights }) {
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(weights, bytes);
    return MISMATCH;
  },
  truncated({ weights }) {
    truncateSync(weights, 500);
    return MISMATCH;
  },
  empty({ weights }) {
    truncateSync(weights, 0);
    return MISMATCH;
  },
  'oversized-by-4-GiB'({ weights }) {
    truncateSync(weights, 2 ** 32);
    return MISMATCH;
  },
  'swapped-weights'({ weights }, other) {
    copyFileSync(other.weights, weights);
    return MISMATCH;
  },
  'swapped-config'({ config }) {
    writeFileSync(
      config,
      readFileSync(config, 'utf8').replace('"lora_alpha":16', '"lora_alpha":61'),
    );
    return MISMATCH;
  },
  'swapped-manifest'({ manifest }, other) {
    copyFileSync(other.manifest, manifest);
    return { ...UNAVAILABLE, alert: 'store_damaged' };
  },
  'a-manifest-that-ends-early'({ manifest }) {
    truncateSync(manifest, 100);
    return { ...UNAVAILABLE, alert: 'store_damaged' };
  },
};

interface ObjectFiles {
  readonly weights: string;
  readonly config: string;
  readonly manifest: string;
}

function objectFiles({ s3 }: Stage, name: string): ObjectFiles {
  const file = (of: string) => path.join(s3.folder, s3.bucket, 'local', name, '1', of);
  return {
    weights: file('adapter_model.safetensors'),
    config: file('adapter_config.json'),
    manifest: file('manifest.json'),
  };
}

const isWeights = ({ path: key }: SeenRequest) => key.endsWith('.safetensors');

/** As the table says; and nothing of the store is told. */
function assertAnswer(
  { s3 }: Stage,
  { status, code, headers, tier, text }: Asked,
  expected: Answer,
) {
  if (!expected.code) {
    assert.deepEqual([status, tier], [200, 'store'], text);
    return;
  }
  assert.deepEqual([status, code], [503, expected.code], text);
  assert.doesNotMatch(text, new RegExp(`${s3.bucket}|127\\.0\\.0\\.1|s3|sha|/`, 'i'));
  const isFinal = expected.code === 'adapter_checksum_mismatch';
  assert.equal(headers.get('x-should-retry'), isFinal ? 'false' : null);
  assert.equal(headers.get('retry-after') !== null, !isFinal);
}

/** The log has the alert for this adapter, and no other alert. */
async function assertAlert({ serving }: Stage, name: string, { alert }: Answer): Promise<void> {
  const alerts = () =>
    serving.output.error
      .split('\n')
      .filter((line) => line.includes(name) && line.includes('"alert"'))
      .map((line) => JSON.parse(line).alert);
  if (alert) await until(`alert ${alert} of ${name}`, () => alerts().length > 0);
  assert.ok(
    alerts().every((one) => one === alert),
    `${alerts()}`,
  );
}

/** The store is asked again: it is not taken to be down. */
async function assertGoesOn(stage: Stage, name: string): Promise<void> {
  stage.proxy.script = () => undefined;
  await stage.publish(name);
  assertAnswer(stage, await stage.ask(name), COMES);
}

test('F06, F07, F08, F09, F10, F12, F13, F14, T20: each fault of a store has its answer, and streams of a resident adapter go on', async (t) => {
  const stage = await startStage(t);
  const { proxy, publish, ask } = stage;
  for (const [
    name,
    { fault, times = Number.POSITIVE_INFINITY, requests, ...expected },
  ] of Object.entries(CASES)) {
    await t.test(name, async () => {
      await publish(name);
      const before = proxy.requests.length;
      proxy.script = firstOnes(times, fault, isWeights);
      assertAnswer(stage, await ask(name), expected);
      const asked = proxy.requests.slice(before).filter(isWeights).length;
      if (requests !== undefined) assert.equal(asked, requests);
      await assertAlert(stage, name, expected);
      await assertGoesOn(stage, `${name}-next`);
    });
  }
  await t.test(
    'F06, F11: what never comes ends at its deadline, its connections with it',
    async () => {
      for (const name of Object.keys(SLOW)) await publish(name);
      proxy.script = (request) => {
        const name = Object.keys(SLOW).find((one) => request.path.includes(`/${one}/`));
        return name && isWeights(request) ? SLOW[name] : undefined;
      };
      const answers = await Promise.all(Object.keys(SLOW).map(ask));
      for (const answer of answers) assertAnswer(stage, answer, UNAVAILABLE);
      await assertGoesOn(stage, 'slow-next');
      await until('stalled connections to close', async () => (await proxy.openSockets()) <= 2);
    },
  );
  await stage.stopStreams();
});

test('F24, T33: SIGTERM while an adapter is fetched refuses its request and lets streams of another end', async (t) => {
  const stage = await startStage(t);
  await stage.publish('cold');
  stage.proxy.script = (request) => (isWeights(request) ? { kind: 'silent' } : undefined);
  const cold = stage.ask('cold');
  await until('the fetch to begin', () => stage.proxy.requests.filter(isWeights).length > 1);
  await until('a stream', async () => {
    const metrics = await (await fetch(`${stage.serving.url}/metrics`)).text();
    return /^vllm:num_requests_running\{[^}]*\} [1-9]/m.test(metrics);
  });
  const streamed = stage.stopStreams('overloaded'); // those under way go on
  const stopped = stage.serving.stop();
  const { status, code } = await cold;
  assert.deepEqual([status, code], [503, 'overloaded']);
  await streamed;
  assert.equal(await stopped, 0);
});

test('B68, T20: objects that are not what was published are refused, and streams of a resident adapter go on', async (t) => {
  const stage = await startStage(t);
  await stage.publish('other');
  for (const [name, damage] of Object.entries(DAMAGES)) {
    await t.test(name, async () => {
      await stage.publish(name);
      const expected = damage(objectFiles(stage, name), objectFiles(stage, 'other'));
      assertAnswer(stage, await stage.ask(name), expected);
      await assertAlert(stage, name, expected);
    });
  }
  await assertGoesOn(stage, 'next');
  await stage.stopStreams();
});

test('T18: a hundred requests at once for one cold adapter: each of its files is read once', async (t) => {
  const stage = await startStage(t);
  await stage.publish('cold');
  const before = stage.proxy.requests.length;
  stage.proxy.script = () => ({ kind: 'latency', ms: 50 });
  const answers = await Promise.all(Array.from({ length: 100 }, () => stage.ask('cold')));
  assert.ok(answers.every(({ status }) => status === 200));
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
  const files = stage.proxy.requests
    .slice(before)
    .map(({ path: key }) => path.basename(key))
    .filter((file) => file.startsWith('adapter_'));
  assert.deepEqual(files.sort(), ['adapter_config.json', 'adapter_model.safetensors']);
  await stage.stopStreams();
});

test('F13: while the store is gone: what is known is served and listed, nobody waits, and it is found again', async (t) => {
  const stage = await startStage(t, { LORIKEET_ALIAS_POLL_MS: '100' });
  const { s3, proxy, serving, publish, ask } = stage;
  for (let i = 0; i < 7; i++) await publish(`cold-${i}`);
  const list = async ({ url } = serving) => {
    const response = await fetch(`${url}/v1/models`);
    const { data = [] } = (await response.json()) as { data?: { id: string }[] };
    const ids = data.map(({ id }) => id);
    return { status: response.status, retryAfter: response.headers.get('retry-after'), ids };
  };
  const known = await list();
  assert.equal(known.ids.length, 1 + 8);
  // Lists come from an index. A model that was asked for has its version and manifest in memory, too.
  for (let i = 0; i < 6; i++) {
    assert.equal((await fetch(`${serving.url}/v1/models/cold-${i}`)).status, 200);
  }

  await s3.kill();
  const refused = async (name: string) => {
    const answer = await ask(name);
    assertAnswer(stage, answer, UNAVAILABLE);
    return Number(answer.headers.get('retry-after'));
  };
  for (let i = 0; i < 5; i++) await refused(`cold-${i}`);
  const before = proxy.requests.filter(isWeights).length;
  const retryAfterS = await refused('cold-5');
  assert.ok(retryAfterS > 1, `${retryAfterS} s`);
  assert.equal(proxy.requests.filter(isWeights).length, before, 'the store is left alone');
  assert.deepEqual(await list(), known);
  await t.test(
    'a server that starts meanwhile serves the base, and says that it cannot list',
    async () => {
      const late = await stage.startAnother();
      const { status, retryAfter } = await list(late);
      assert.equal(status, 503);
      assert.ok(Number(retryAfter) >= 1);
      assert.equal((await stage.askAt(late, 'base')).status, 200);
    },
  );

  await s3.restart();
  await delay(retryAfterS * 1000); // as a client that is told so
  await until('its fetch', async () => (await ask('cold-6')).status === 200);
  assert.deepEqual(await list(), known);
  await stage.stopStreams();
});
