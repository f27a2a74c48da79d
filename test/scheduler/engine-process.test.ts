import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import {
  createProcessClient,
  type EngineClient,
  type ProcessClientOptions,
} from '../../src/scheduler/client.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { LOCAL_TENANT } from '../../src/tenant.ts';
import { referenceTokens, request, source } from './fake-engine.ts';

const entry = new URL('./fixtures/fake-engine-process.ts', import.meta.url);

/** First prompt tokens that the fixture takes as an order to fail. */
const [CRASH, HANG, WEDGE, GAP, THROW] = [901, 902, 903, 904, 905] as const;

/** A restart that no test waits for. */
const NEVER_MS = 60_000;

const long = request([1, 2], { maxTokens: 60 });

interface Bench {
  client: EngineClient;
  log: string[];
  fatal: Promise<Error>;
}

/** A client of a forked engine, drained when the test ends. */
function start(t: TestContext, options: Partial<ProcessClientOptions> = {}): Bench {
  const log: string[] = [];
  let client: EngineClient | undefined;
  const fatal = new Promise<Error>((resolve) => {
    client = createProcessClient({
      entry,
      hostOptions: {},
      log: createLog('info', { write: (line) => log.push(line) }),
      onFatal: resolve,
      restartDelaysMs: [0, 0],
      ...options,
    });
  });
  t.after(() => client!.drain(0));
  return { client: client!, log, fatal };
}

interface Stream {
  events: EngineEvent[];
  accepted: Promise<void>;
  /** The first token has come. */
  started: Promise<void>;
  ended: Promise<EngineEvent>;
}

function generate(client: EngineClient, of = long, adapter = source('a')): Stream {
  const events: EngineEvent[] = [];
  const waiters = new Map<EngineEvent['type'], () => void>();
  const seen = (type: EngineEvent['type']) =>
    new Promise<void>((resolve) => {
      waiters.set(type, resolve);
    });
  const accepted = seen('accepted');
  const started = seen('token');
  const ended = new Promise<EngineEvent>((resolve) => {
    client.submit(LOCAL_TENANT, adapter, of, (event) => {
      events.push(event);
      waiters.get(event.type)?.();
      if (isTerminal(event)) resolve(event);
    });
  });
  return { events, accepted, started, ended };
}

function tokensOf({ events }: Stream): number[] {
  return events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
}

function errorCode(end: EngineEvent): string | undefined {
  return end.type === 'failed' ? end.error.code : undefined;
}

function pidOf(client: EngineClient): number {
  return Number(client.model!.provider.replace('pid ', ''));
}

// Mostly waiting for processes to start: several at once.
describe('the engine process', { concurrency: 3 }, () => {
  test('an engine process serves as the loop in one process does', async (t) => {
    const { client } = start(t);
    assert.equal(client.state, 'starting');
    assert.equal(errorCode(await generate(client).ended), 'engine_restarting');
    await client.whenReady();
    const bias = { ...long, sampling: { ...long.sampling, logitBias: new Map([[1, 2]]) } };
    const streams = [generate(client), generate(client, bias)];
    for (const stream of streams) {
      assert.equal((await stream.ended).type, 'finished');
      assert.deepEqual(tokensOf(stream), referenceTokens(long, 'a'));
    }
    assert.equal((await client.stats()).generatedTokens, 120);
  });

  test('a crash ends every stream with an error at once, and the engine comes back', async (t) => {
    const { client, log } = start(t, { restartDelaysMs: [0, NEVER_MS] });
    await client.whenReady();
    const firstPid = pidOf(client);
    const streams = [generate(client), generate(client), generate(client)];
    for (const { started } of streams) await started;
    const culprit = generate(client, request([CRASH]));
    const stats = client.stats();
    for (const { ended } of [...streams, culprit]) {
      assert.equal(errorCode(await ended), 'engine_restarting');
    }
    await stats.catch(() => {}); // answered or refused, but not left open
    assert.equal(client.state, 'restarting');
    await client.whenReady();
    assert.notEqual(pidOf(client), firstPid);
    assert.equal((await generate(client).ended).type, 'finished');
    for (const { events } of streams) assert.equal(events.filter(isTerminal).length, 1);
    assert.match(log.join(''), /engine process ended: SIGKILL/);
    assert.equal(errorCode(await generate(client, request([THROW])).ended), 'engine_restarting');
    await client.drain(0);
    assert.match(log.join(''), /a bug in the engine process/);
  });

  test('a request that crashed the engine twice is refused, and its neighbours are served', async (t) => {
    const { client } = start(t);
    const crash = request([CRASH]);
    for (let crashes = 0; crashes < 2; crashes++) {
      await client.whenReady();
      const neighbour = generate(client, long, source('b'));
      await neighbour.started;
      const culprit = generate(client, crash, source('a'));
      for (const { ended } of [neighbour, culprit]) {
        assert.equal(errorCode(await ended), 'engine_restarting');
      }
    }
    await client.whenReady();
    assert.equal(errorCode(await generate(client, crash, source('a')).ended), 'adapter_invalid');
    assert.equal((await generate(client, long, source('b')).ended).type, 'finished');
  });

  test('the watchdog kills a process that makes no step while work waits', async (t) => {
    const { client, log } = start(t, { stepBudgetMs: 700, restartDelaysMs: [0, NEVER_MS] });
    for (const fault of [HANG, WEDGE]) {
      await client.whenReady();
      const wedged = [generate(client, request([fault])), generate(client)];
      for (const { ended } of wedged) assert.equal(errorCode(await ended), 'engine_restarting');
    }
    assert.equal(log.filter((line) => line.includes('no step within 700 ms')).length, 2);
  });

  test('a process whose step numbers have a gap is taken for crashed', async (t) => {
    const { client, log } = start(t, { restartDelaysMs: [NEVER_MS] });
    await client.whenReady();
    assert.equal(errorCode(await generate(client, request([GAP])).ended), 'engine_restarting');
    assert.match(log.join(''), /step 1000 came after step/);
    assert.equal(client.state, 'restarting');
  });

  test('signals to the process group do not cut streams, and a drain lets them end', async (t) => {
    const { client, log } = start(t);
    await client.whenReady();
    const stream = generate(client);
    await stream.started;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.kill(pidOf(client), signal);
    const drained = client.drain(10_000);
    assert.equal(errorCode(await generate(client).ended), 'overloaded');
    await drained;
    assert.equal((await stream.ended).type, 'finished');
    assert.deepEqual(tokensOf(stream), referenceTokens(long, 'a'));
    assert.match(log.join(''), /the engine is drained/);
  });

  test('a drain ends a process that does not answer, once its time is over', async (t) => {
    const { client } = start(t);
    await client.whenReady();
    const wedged = generate(client, request([WEDGE]));
    await wedged.accepted;
    await client.drain(0);
    assert.equal(errorCode(await wedged.ended), 'overloaded');
  });

  test('options that the engine refuses are fatal, and not tried again', async (t) => {
    const { client, fatal } = start(t, { hostOptions: { refuse: 'max-seq: 9 is more than 8' } });
    await assert.rejects(client.whenReady(), ConfigError);
    assert.match((await fatal).message, /max-seq/);
    assert.equal(client.state, 'stopped');
  });

  test('a process that fails is tried three times, with its reason in the log, then given up', async (t) => {
    const { client, log, fatal } = start(t, { hostOptions: { fail: 'no such library' } });
    await assert.rejects(client.whenReady(), /crashed 3 times/);
    assert.match((await fatal).message, /crashed 3 times/);
    assert.equal(client.state, 'stopped');
    assert.ok(errorCode(await generate(client).ended));
    assert.equal(log.filter((line) => line.includes('no such library')).length, 3);
  });

  test('a process whose server is gone ends', async () => {
    const execArgv = ['--import', import.meta.resolve('tsx')];
    const child = fork(entry, ['{}'], { execArgv, serialization: 'advanced' });
    await once(child, 'message');
    child.disconnect();
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  });
});
