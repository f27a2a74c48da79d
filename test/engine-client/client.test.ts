import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../../src/common/log.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import type { AdapterSource } from '../../src/contracts/generation.ts';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { EngineClient } from '../../src/engine-client/client.ts';
import { MAX_PAUSE_MS } from '../../src/engine-client/pause.ts';
import type { EngineEvent } from '../../src/scheduler/protocol.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import {
  FakeEngine,
  FakeLeases,
  referenceTokens,
  request,
  source,
} from '../scheduler/fake-engine.ts';

const silent = createLog('silent');

function createClient(engine = new FakeEngine()): EngineClient {
  return createInProcessClient(new StepLoop({ engine, adapters: new FakeLeases() }), silent);
}

/** All events of one sequence. */
function generate(
  client: EngineClient,
  adapter: AdapterSource | undefined,
  of = request([1, 2], { maxTokens: 5 }),
): Promise<EngineEvent[]> {
  const events: EngineEvent[] = [];
  return new Promise((resolve) => {
    client.submit(LOCAL_TENANT, adapter, of, (event) => {
      events.push(event);
      if (isTerminal(event)) resolve(events);
    });
  });
}

test('a sequence gets accepted, admitted, its tokens, and one end', async () => {
  const client = createClient();
  const of = request([1, 2], { maxTokens: 5 });
  const events = await generate(client, source('a'), of);
  assert.deepEqual(
    events.map(({ type }) => type),
    ['accepted', 'admitted', 'token', 'token', 'token', 'token', 'token', 'finished'],
  );
  const tokens = events.flatMap((event) => (event.type === 'token' ? [event.tokenId] : []));
  assert.deepEqual(tokens, referenceTokens(of, 'a'));
  await client.drain(1000);
});

test('a listener is never called before submit returns', async () => {
  const client = createClient();
  let answered = false;
  await new Promise<void>((resolve) => {
    client.submit(LOCAL_TENANT, undefined, request([1]), (event) => {
      assert.ok(answered);
      if (isTerminal(event)) resolve();
    });
    answered = true;
  });
  await client.drain(1000);
});

test('a prefetch says where the adapter was and how long its load took, or why it failed', async () => {
  const client = createClient();
  assert.deepEqual(await client.prefetch(source('a')), { tier: 'disk', loadMs: 3 });
  await assert.rejects(client.prefetch(source('missing')), { code: 'adapter_unavailable' });
  await client.drain(1000);
  await assert.rejects(client.prefetch(source('a')), { code: 'overloaded' });
});

test('an abort ends the sequence once, and after the end does nothing', async () => {
  const client = createClient();
  const ends: EngineEvent[] = [];
  await new Promise<void>((resolve) => {
    const handle = client.submit(
      LOCAL_TENANT,
      undefined,
      request([1], { maxTokens: 60 }),
      (event) => {
        if (event.type === 'token') handle.abort();
        if (isTerminal(event)) {
          ends.push(event);
          handle.abort();
          resolve();
        }
      },
    );
  });
  await generate(client, undefined);
  assert.equal(ends.length, 1);
  assert.equal(ends[0]!.type === 'finished' && ends[0]!.reason, 'abort');
  await client.drain(1000);
});

test('a listener that throws does not affect the others', async () => {
  const client = createClient();
  client.submit(LOCAL_TENANT, undefined, request([1]), () => {
    throw new Error('a bug of the caller');
  });
  const events = await generate(client, undefined);
  assert.equal(events.at(-1)!.type, 'finished');
  await client.drain(1000);
});

test('stats count what is running, waiting and served', async () => {
  const client = createClient();
  await generate(client, undefined, request([1, 2, 3], { maxTokens: 5 }));
  const stats = await client.stats();
  assert.equal(stats.promptTokens, 3);
  assert.equal(stats.generatedTokens, 5);
  assert.deepEqual([stats.running, stats.waiting, stats.kvUsage, stats.slotCount], [0, 0, 0, 4]);
  await client.drain(1000);
  await assert.rejects(client.stats(), { code: 'overloaded' });
});

test('after a drain a submitted sequence fails at once', async () => {
  const client = createClient();
  await client.drain(1000);
  assert.equal(client.state, 'stopped');
  const [end, ...rest] = await generate(client, undefined);
  assert.equal(end!.type === 'failed' && end!.error.code, 'overloaded');
  assert.deepEqual(rest, []);
  await assert.rejects(client.whenReady(), { code: 'overloaded' });
});

test('an engine that fails as a whole ends every sequence with an error', async () => {
  const engine = new FakeEngine();
  const client = createClient(engine);
  engine.moveSlot = () => {
    throw new Error('device lost');
  };
  const of = [2, 60, 60].map((maxTokens) => request([1, 2], { maxTokens }));
  const all = await Promise.all(of.map((one) => generate(client, undefined, one)));
  const ends = all.map((events) => events.at(-1)!.type);
  assert.deepEqual(ends, ['finished', 'failed', 'failed']);
  assert.equal(client.state, 'stopped');
});

test('a pause that nobody ends is ended by the client, and a drain ends it, too', async () => {
  const due: { ms: number; callback: () => void }[] = [];
  const schedule = (ms: number, callback: () => void) => {
    due.push({ ms, callback });
    return () => {};
  };
  const loop = new StepLoop({ engine: new FakeEngine(), adapters: new FakeLeases() });
  const clock = { ...systemClock, schedule };
  const client = createInProcessClient(loop, silent, undefined, clock);
  await client.whenReady();
  client.pause.begin();
  const answered = generate(client, undefined);
  assert.deepEqual(
    due.map(({ ms }) => ms),
    [MAX_PAUSE_MS],
  );
  due[0]!.callback();
  assert.equal((await answered).at(-1)!.type, 'finished');
  client.pause.begin();
  const last = generate(client, undefined);
  await client.drain(1000);
  await last;
});

test('idle sequences take no place in the queue of others, and none of them is refused because of it', async () => {
  const loop = new StepLoop({ engine: new FakeEngine(), adapters: new FakeLeases() });
  const client = createInProcessClient(loop, silent, { maxWaiting: 1 });
  const idle = { ...LOCAL_TENANT, isIdle: true as const };
  const of = request([1, 2], { maxTokens: 50 });
  const ends = Array.from({ length: 40 }, () => {
    return new Promise<EngineEvent>((resolve) => {
      client.submit(idle, undefined, of, (event) => isTerminal(event) && resolve(event));
    });
  });
  client.requireRoom({ tenant: LOCAL_TENANT, maxTokens: 5 });
  const events = await generate(client, undefined);
  assert.equal(events.at(-1)?.type, 'finished');
  for (const end of await Promise.all(ends)) {
    assert.ok(
      end.type === 'finished' || (end.type === 'failed' && end.error.code === 'overloaded'),
    );
  }
  await client.drain(1000);
});
