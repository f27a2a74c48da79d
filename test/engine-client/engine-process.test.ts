import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { forkProgram } from '../../src/common/fork-program.ts';
import type { PrefixEvent } from '../../src/contracts/engine.ts';
import { isTerminal } from '../../src/scheduler/sequence.ts';
import { referenceTokens, request, source } from '../scheduler/fake-engine.ts';
import {
  CRASH,
  entry,
  errorCode,
  GAP,
  generate,
  HANG,
  LATE_HANG,
  long,
  NEVER_MS,
  pidOf,
  start,
  THROW,
  tokensOf,
  WEDGE,
} from './process-harness.ts';

// These tests mostly wait for processes to start, so several run at once.
describe('the engine process', { concurrency: 3 }, () => {
  test('an engine process serves like a loop in this process', async (t) => {
    const { client } = start(t);
    assert.equal(client.state, 'starting');
    assert.equal(errorCode(await generate(client).ended), 'engine_restarting');
    assert.equal((await client.prefetch(source('a'))).tier, 'disk'); // the answer comes once it is ready
    const bias = { ...long, sampling: { ...long.sampling, logitBias: new Map([[1, 2]]) } };
    const streams = [generate(client), generate(client, bias)];
    for (const stream of streams) {
      assert.equal((await stream.ended).type, 'finished');
      assert.deepEqual(tokensOf(stream), referenceTokens(long, 'a'));
    }
    assert.equal((await client.stats()).generatedTokens, 120);
  });

  test('F02, T30: a crash ends every stream with an error at once, and the engine restarts', async (t) => {
    const cached: PrefixEvent[] = [];
    const onPrefixes = (events: readonly PrefixEvent[]) => cached.push(...events);
    const { client, log } = start(t, { restartDelaysMs: [0, NEVER_MS], onPrefixes });
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
    assert.deepEqual(cached, [{ type: 'cleared' }]);
    await client.whenReady();
    assert.notEqual(pidOf(client), firstPid);
    assert.equal((await generate(client).ended).type, 'finished');
    for (const { events } of streams) assert.equal(events.filter(isTerminal).length, 1);
    assert.match(log.join(''), /engine process ended: SIGABRT/);
    assert.equal(errorCode(await generate(client, request([THROW])).ended), 'engine_restarting');
    await client.drain(0);
    assert.match(log.join(''), /a bug in the engine process/);
  });

  test('F39, T31: a run that does not end is terminated, and the others of its process go on', async (t) => {
    const { client, log } = start(t, { firstRunBudgetMs: 700, graceMs: 700 });
    await client.whenReady();
    const pid = pidOf(client);
    for (let hangs = 0; hangs < 2; hangs++) {
      const hanging = generate(client, request([HANG]), source('a'));
      const beside = generate(client, long, source('b'));
      const end = await hanging.ended;
      assert.equal(errorCode(end), 'engine_restarting');
      assert.match(JSON.stringify(end), /took far longer than others of its size.*Try again/);
      assert.equal((await beside.ended).type, 'finished');
      assert.deepEqual(tokensOf(beside), referenceTokens(long, 'b'));
    }
    assert.equal(
      log.filter((line) => line.includes('takes too long and is being terminated')).length,
      2,
    );
    assert.equal(pidOf(client), pid);
    const refusal = await generate(client, request([HANG]), source('a')).ended;
    assert.equal(errorCode(refusal), 'quarantined');
  });

  test('F39, T31: if rows decode together, only the one ends that takes too long alone', async (t) => {
    const { client, log } = start(t, { firstRunBudgetMs: 700, graceMs: 700 });
    await client.whenReady();
    const beside = [generate(client), generate(client, long, source('b'))];
    const hanging = generate(client, request([LATE_HANG], { maxTokens: 60 }));
    assert.equal(errorCode(await hanging.ended), 'engine_restarting');
    for (const [i, adapter] of ['a', 'b'].entries()) {
      assert.equal((await beside[i]!.ended).type, 'finished');
      assert.deepEqual(tokensOf(beside[i]!), referenceTokens(long, adapter));
    }
    assert.equal(
      log.filter((line) => line.includes('takes too long and is being terminated')).length,
      2,
    );
  });

  test('F04, T31: a process whose run cannot be terminated is killed', async (t) => {
    const budgets = { firstRunBudgetMs: 700, terminationMs: 300 };
    const { client, log } = start(t, { ...budgets, restartDelaysMs: [0, NEVER_MS] });
    await client.whenReady();
    const wedged = [generate(client, request([WEDGE])), generate(client)];
    for (const { ended } of wedged) assert.equal(errorCode(await ended), 'engine_restarting');
    assert.match(log.join(''), /did not end within 300 ms of its termination/);
    await client.whenReady();
    assert.equal((await generate(client).ended).type, 'finished');
  });

  test('F38: a process whose step numbers have a gap counts as crashed', async (t) => {
    const { client, log } = start(t, { restartDelaysMs: [NEVER_MS] });
    await client.whenReady();
    assert.equal(errorCode(await generate(client, request([GAP])).ended), 'engine_restarting');
    assert.match(log.join(''), /step 1000 came after step/);
    assert.equal(client.state, 'restarting');
  });

  test('F24, T33: signals to the process group do not cut streams, and a drain lets them end', async (t) => {
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

  test('a drain kills a process that does not answer, after its deadline', async (t) => {
    const { client } = start(t);
    await client.whenReady();
    const wedged = generate(client, request([WEDGE]));
    await wedged.accepted;
    await client.drain(0);
    assert.equal(errorCode(await wedged.ended), 'overloaded');
  });
});

describe('the supervisor of the engine process', { concurrency: 3 }, () => {
  test('options that the engine refuses are fatal, without another try', async (t) => {
    const { client, fatal } = start(t, { hostOptions: { refuse: 'max-seq: 9 is more than 8' } });
    await assert.rejects(client.whenReady(), ConfigError);
    assert.match((await fatal).message, /max-seq/);
    assert.equal(client.state, 'stopped');
  });

  test('T30: the supervisor starts a failing process three times, logs the reason, and gives up', async (t) => {
    const { client, log, fatal } = start(t, { hostOptions: { fail: 'no such library' } });
    await assert.rejects(client.whenReady(), /crashed 3 times/);
    assert.match((await fatal).message, /crashed 3 times/);
    assert.equal(client.state, 'stopped');
    assert.ok(errorCode(await generate(client).ended));
    assert.equal(log.filter((line) => line.includes('no such library')).length, 3);
  });

  test('T30: a process that is killed from outside after it served for long does not count as crashed', async (t) => {
    const { client, log } = start(t, { restartDelaysMs: [0, 0], stableMs: 0 });
    for (let kills = 0; kills < 4; kills++) {
      await client.whenReady();
      assert.equal((await generate(client).ended).type, 'finished');
      const stream = generate(client);
      await stream.started;
      process.kill(pidOf(client), 'SIGKILL');
      assert.equal(errorCode(await stream.ended), 'engine_restarting');
    }
    await client.whenReady();
    assert.equal(log.filter((line) => line.includes('engine process ended: SIGKILL')).length, 4);
  });

  test('a process ends when its server is gone', async () => {
    const child = forkProgram(entry, ['{}'], { serialization: 'advanced' });
    await once(child, 'message');
    child.disconnect();
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  });
});
