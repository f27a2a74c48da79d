// The S3 driver's deadlines, retries and errors, with a proxy before a real server that breaks requests (threats F06-F15).
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { createS3Store } from '../../adapters/store/s3.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { bytesOf, largeFile, ofKind, readAll, readText } from '../adapters/store/conformance.ts';
import { listKeys } from '../adapters/store/wrapped-store.ts';
import { testUnless } from '../shared.ts';
import { firstOnes } from './fault-proxy.ts';
import { DEADLINES, OPTIONS, openWith, rejectsEverywhere, startFaulty } from './s3-driver.ts';
import { environmentOf, prepareS3Server, startS3Server } from './s3-server.ts';

const skip = await prepareS3Server();
const test = testUnless(skip);

test('a host that has no address is unavailable for every call', async (t) => {
  const server = await startS3Server(t);
  const store = openWith(server, { endpoint: 'http://store.invalid' });
  await rejectsEverywhere(store, 'unavailable');
});

test('a large object is put and read in bounded memory', async (t) => {
  const server = await startS3Server(t);
  const store = openWith(server);
  const move = async (byteSize: number): Promise<void> => {
    await store.put('large', { file: await largeFile(t, byteSize) });
    let received = 0;
    for await (const chunk of (await store.get('large'))!.body) received += chunk.byteLength;
    assert.equal(received, byteSize);
  };
  // The client's code and the buffers of two parts.
  await move(24 * 2 ** 20);
  const byteSize = 128 * 2 ** 20;
  let highest = 0;
  const watch = setInterval(() => {
    highest = Math.max(highest, process.memoryUsage().rss);
  }, 5);
  t.after(() => clearInterval(watch));
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  await move(byteSize);
  assert(highest - before < byteSize / 2, `${(highest - before) / 2 ** 20} MiB more`);
});

const BODY = 300_000;

test('a body that is cut anywhere is an error, and the connection is not kept', async (t) => {
  const { proxy, store, direct } = await startFaulty(t);
  await direct.put('a', new Uint8Array(BODY));
  for (const at of [0, 1, 65_536, BODY - 1]) {
    proxy.script = () => ({ kind: 'cut', at });
    await assert.rejects(readWhole(store), ofKind('unavailable'), `at ${at}`);
  }
  assert.equal(proxy.requests.length, 4, 'whoever has the bytes decides whether to ask again');
  proxy.script = () => undefined;
  assert.equal((await readWhole(store)).byteLength, BODY);
});

test('a body that stalls ends at its deadline, and its connection with it', async (t) => {
  const { proxy, store, direct } = await startFaulty(t);
  await direct.put('a', new Uint8Array(BODY));
  proxy.script = () => ({ kind: 'stall', at: 1_000 });
  await Promise.all(
    Array.from({ length: 8 }, () => assert.rejects(readWhole(store), ofKind('unavailable'))),
  );
  proxy.script = () => undefined;
  assert.equal((await readWhole(store)).byteLength, BODY);
  assert((await proxy.openSockets()) <= 1, 'the stalled ones are closed');
});

test('a slow reader is not taken for a body that stalls', async (t) => {
  const { store, direct } = await startFaulty(t);
  await direct.put('a', new Uint8Array(2 ** 23));
  const found = await store.get('a');
  let received = 0;
  for await (const chunk of found!.body) {
    // The event loop goes on, and the deadline passes.
    if (received === 0) await passDeadline();
    received += chunk.byteLength;
  }
  assert.equal(received, 2 ** 23);
});

test('a length that does not match the body is an error', async (t) => {
  const { proxy, store, direct } = await startFaulty(t);
  await direct.put('a', new Uint8Array(BODY));
  proxy.script = () => ({ kind: 'length', by: 10 });
  await assert.rejects(readWhole(store), ofKind('unavailable'));
  // Less than there is: what is beyond is no part of the body, and no part of the next answer.
  proxy.script = () => ({ kind: 'length', by: -10 });
  assert.equal((await readWhole(store)).byteLength, BODY - 10);
  proxy.script = () => undefined;
  assert.equal((await readWhole(store)).byteLength, BODY);
});

test('an answer that never begins ends at its deadline', async (t) => {
  const { proxy, store } = await startFaulty(t);
  proxy.script = () => ({ kind: 'silent' });
  await Promise.all([
    assert.rejects(store.get('a'), ofKind('unavailable')),
    assert.rejects(store.head('a'), ofKind('unavailable')),
    assert.rejects(store.put('a', bytesOf('x')), ofKind('unavailable')),
    assert.rejects(store.delete('a'), ofKind('unavailable')),
    assert.rejects(listKeys(store, ''), ofKind('unavailable')),
  ]);
});

test('a signal ends a call that waits for an answer', async (t) => {
  const { proxy, store } = await startFaulty(t);
  const controller = new AbortController();
  const reason = new Error('enough');
  proxy.script = () => {
    controller.abort(reason);
    return { kind: 'silent' };
  };
  const getting = store.get('a', { signal: controller.signal });
  await assert.rejects(getting, (error) => error === reason);
});

for (const fault of [
  { kind: 'status', status: 500 },
  { kind: 'status', status: 503 },
  { kind: 'reset' },
  { kind: 'silent' },
] as const) {
  const name = fault.kind === 'status' ? fault.status : fault.kind;
  test(`${name} twice is tried again by the client, for ever is unavailable`, async (t) => {
    const { proxy, store, direct } = await startFaulty(t);
    await direct.put('a', bytesOf('one'));
    proxy.script = firstOnes(2, fault);
    assert.equal(await readText(store, 'a'), 'one');
    proxy.script = () => fault;
    await assert.rejects(store.get('a'), ofKind('unavailable'));
    assert.equal(proxy.requests.length, 6, 'three tries each');
  });
}

test('credentials that expired are asked for again once, and denied if these have expired, too', async (t) => {
  const { server, proxy, direct } = await startFaulty(t);
  await direct.put('a', bytesOf('one'));
  let asked = 0;
  const credentials = async () => {
    asked += 1;
    return { ...server.credentials, expiration: new Date(Date.now() + 3_600_000) };
  };
  const store = openWith(server, { endpoint: proxy.endpoint, credentials });
  const expired = { kind: 'status', status: 400, code: 'ExpiredToken' } as const;
  proxy.script = firstOnes(1, expired);
  assert.equal(await readText(store, 'a'), 'one');
  assert.deepEqual([asked, proxy.requests.length], [2, 2]);
  proxy.script = () => expired;
  await assert.rejects(store.get('a'), ofKind('denied'));
  assert.deepEqual([asked, proxy.requests.length], [3, 4]);
});

test('credentials that end soon are asked for again', async (t) => {
  const server = await startS3Server(t);
  let asked = 0;
  const credentials = async () => {
    asked += 1;
    return { ...server.credentials, expiration: new Date(Date.now() + 60_000) };
  };
  const store = openWith(server, { credentials });
  await store.put('a', bytesOf('one'));
  const before = asked;
  assert.equal(await readText(store, 'a'), 'one');
  assert(asked > before);
});

test('403 is denied at the first try', async (t) => {
  const { proxy, store } = await startFaulty(t);
  proxy.script = () => ({ kind: 'status', status: 403 });
  await rejectsEverywhere(store, 'denied');
  assert.equal(proxy.requests.length, 5);
});

test('409 and 412 of a put are conflicts at the first try', async (t) => {
  const { proxy, store } = await startFaulty(t);
  for (const status of [409, 412] as const) {
    proxy.script = () => ({ kind: 'status', status });
    await assert.rejects(store.put('a', bytesOf('x'), { ifAbsent: true }), ofKind('conflict'));
  }
  assert.equal(proxy.requests.length, 2);
});

/** Sets variables for one test, once in it. */
function setEnvironment(t: TestContext, values: Readonly<Record<string, string>>): void {
  const before = { ...process.env };
  Object.assign(process.env, values);
  t.after(() => {
    for (const name of Object.keys(values)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });
}

test('the environment alone leads to the server', async (t) => {
  const server = await startS3Server(t);
  setEnvironment(t, environmentOf(server.endpoint));
  const store = createS3Store({ bucket: server.bucket, prefix: '' }, OPTIONS);
  await store.put('a', bytesOf('one'));
  assert.equal(await readText(openWith(server), 'a'), 'one');
});

for (const [what, kind, change] of [
  ['no credentials', 'denied', { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' }],
  ['no region', 'invalid', { AWS_REGION: '' }],
  ['an endpoint that is no URL', 'invalid', { AWS_ENDPOINT_URL_S3: 'no address' }],
] as const) {
  test(`an environment with ${what} is ${kind} for every call`, async (t) => {
    setEnvironment(t, { ...environmentOf('http://127.0.0.1:9'), ...change });
    const store = createS3Store({ bucket: 'adapters', prefix: '' }, OPTIONS);
    await rejectsEverywhere(store, kind);
    if (what === 'no region') await assert.rejects(store.get('a'), /AWS_REGION/);
  });
}

async function readWhole(store: ObjectStore): Promise<Buffer> {
  const found = await store.get('a');
  assert(found);
  return readAll(found);
}

function passDeadline(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, DEADLINES.idleMs * 2);
  });
}
