// Engine processes that die, are killed or are suspended: which requests are quarantined, and how fast it is noticed.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { request, source } from '../scheduler/fake-engine.ts';
import { until } from '../until.ts';
import { CRASH, errorCode, generate, LATE_CRASH, long, pidOf, start } from './process-harness.ts';

// These tests mostly wait for processes to start, so several run at once.
describe('an engine process that ends or stops', { concurrency: 3 }, () => {
  test('T32: a request that crashed the engine twice is refused, and others are served', async (t) => {
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
    const refusal = await generate(client, crash, source('a')).ended;
    assert.ok(refusal.type === 'failed');
    const { code, param, retryAfterS } = refusal.error;
    assert.deepEqual([code, param], ['quarantined', 'model']);
    assert.ok(retryAfterS! > 590 && retryAfterS! <= 600, `${retryAfterS} s`);
    assert.equal((await generate(client, long, source('b')).ended).type, 'finished');
    assert.deepEqual(
      client.quarantine
        .list()
        .map(({ kind, crashes }) => `${kind} ${crashes}`)
        .sort(),
      ['adapter 2', 'request 2'],
    );
    assert.ok(client.quarantine.release('adapter-a'));
    assert.equal((await generate(client, long, source('a')).ended).type, 'finished');
  });

  test('a crash during decoding is blamed on the step, not on waiting or finished sequences', async (t) => {
    const { client } = start(t);
    const lateCrash = request([LATE_CRASH], { maxTokens: 60 });
    for (let crashes = 0; crashes < 2; crashes++) {
      await client.whenReady();
      await generate(client, request([1], { maxTokens: 4 }), source('proven')).ended;
      const culprit = generate(client, lateCrash, source('a'));
      const beside = generate(client, long, source('proven'));
      const loading = generate(client, long, source('slow'));
      for (const { ended } of [culprit, beside, loading]) {
        assert.equal(errorCode(await ended), 'engine_restarting');
      }
    }
    await client.whenReady();
    assert.equal(errorCode(await generate(client, long, source('a')).ended), 'quarantined');
    const adapters = client.quarantine.list().filter(({ kind }) => kind === 'adapter');
    assert.deepEqual(
      adapters.map(({ id }) => id),
      ['adapter-a'],
    );
    client.quarantine.clear();
    assert.equal((await generate(client, long, source('proven')).ended).type, 'finished');
    assert.equal((await generate(client, long, source('a')).ended).type, 'finished');
  });

  test('nothing is suspected if an engine is killed from outside', async (t) => {
    const { client, log } = start(t);
    const digests = ['a', 'b', 'c'];
    for (let kills = 0; kills < 2; kills++) {
      await client.whenReady();
      const streams = digests.map((digest) => generate(client, long, source(digest)));
      for (const { started } of streams) await started;
      process.kill(pidOf(client), 'SIGKILL');
      for (const { ended } of streams) assert.equal(errorCode(await ended), 'engine_restarting');
    }
    await client.whenReady();
    assert.deepEqual(client.quarantine.list(), []);
    for (const digest of digests) {
      assert.equal((await generate(client, long, source(digest)).ended).type, 'finished');
    }
    assert.match(
      log.join(''),
      /SIGKILL \(out of memory, killed by the watchdog, or by somebody else\)/,
    );
  });

  test('a suspended engine is noticed within 5 s and continues when it is resumed', async (t) => {
    const { client, log } = start(t);
    await client.whenReady();
    const stream = generate(client);
    await stream.started;
    process.kill(pidOf(client), 'SIGSTOP');
    const stoppedAt = performance.now();
    await until('the engine to stall', () => !client.isProgressing, { deadlineMs: 5_000 });
    assert.ok(performance.now() - stoppedAt < 5_000);
    assert.equal(client.state, 'ready');
    process.kill(pidOf(client), 'SIGCONT');
    assert.equal((await stream.ended).type, 'finished');
    assert.ok(client.isProgressing);
    assert.doesNotMatch(log.join(''), /killed/);
  });

  test('an idle engine that stays suspended is replaced, and nothing is blamed for it', async (t) => {
    const { client, log } = start(t, { silenceBudgetMs: 2_000 });
    await client.whenReady();
    const firstPid = pidOf(client);
    process.kill(firstPid, 'SIGSTOP');
    await until('a restart', () => client.state === 'restarting', { deadlineMs: 10_000 });
    await client.whenReady();
    assert.notEqual(pidOf(client), firstPid);
    assert.match(log.join(''), /no sign of life within 2000 ms/);
    assert.deepEqual(client.quarantine.list(), []);
  });
});
