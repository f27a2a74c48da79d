// Several servers over one store: no job runs twice, none is lost if a server ends, dies or is slow, and a server that has
// lost a job no longer changes it.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { createRepository } from '../../adapters/repository/repository.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { type JobRunner, RunStop } from '../../src/jobs/runner.ts';
import { until } from '../until.ts';
import { BASE, gates, openServer, simulatedRunner, startServer } from './simulated.ts';

/** Notes which jobs were begun, and how. */
function watched(): { runner: JobRunner; starts: string[] } {
  const inner = simulatedRunner();
  const starts: string[] = [];
  return {
    starts,
    runner: {
      ...inner,
      run(request, stop) {
        starts.push(`${request.jobId} ${request.isResume ? 'on' : 'new'}`);
        return inner.run(request, stop);
      },
    },
  };
}

describe('several servers', () => {
  test('run each of many jobs once', async () => {
    const store = createMemoryStore();
    const watches = [watched(), watched(), watched()];
    const servers = watches.map(({ runner }) => startServer(store, { runner }));
    const jobs = await Promise.all(
      Array.from({ length: 6 }, (_, i) => servers[i % 3]!.create({ steps: 2 })),
    );
    for (const job of jobs) await servers[0]!.until(job, 'succeeded');
    const starts = watches.flatMap((watch) => watch.starts);
    assert.deepEqual(starts.sort(), jobs.map(({ id }) => `${id} new`).sort());
    const versions = await createRepository(store).listVersions('acme', 'colours');
    assert.equal(versions.length, 12, 'a checkpoint and a result of each');
  });

  test('leave the jobs of other stores in the same data folder alone', async () => {
    const { folder, open } = gates();
    const first = startServer(createMemoryStore());
    const job = await first.create({ steps: 3, gates: folder });
    open(1);
    await until('step 1', async () => (await first.get(job)).progress?.step === 1);
    const second = startServer(createMemoryStore(), { root: first.root });
    await second.until(await second.create(), 'succeeded');
    await until('its folder to go', async () => readdirSync(first.root).length === 1);
    open(2, 3);
    await first.until(job, 'succeeded');
    assert.equal((await first.get(job)).retries, 0);
  });

  test('remove the folders that nobody has used for a day, of other stores and of release 0.3.0', async () => {
    const { root, ...server } = openServer();
    const [, , used] = ['ftjob-1.acme', 'ftjob-2', 'ftjob-3.acme', 'other'].map((name) => {
      const run = path.join(root, name, 'run-1');
      mkdirSync(run, { recursive: true });
      const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
      for (const entry of [run, path.dirname(run)]) utimesSync(entry, twoDaysAgo, twoDaysAgo);
      return run;
    });
    utimesSync(used!, new Date(), new Date());
    server.worker.start();
    await until('the others to go', async () => readdirSync(root).length === 2);
    assert.deepEqual(readdirSync(root).sort(), ['ftjob-3.acme', 'other']);
  });

  test('obey actions that another server accepted, and publish for each other', async () => {
    const store = createMemoryStore();
    const trains = startServer(store);
    const serves = openServer(store, { limits: { maxTraining: 0 } });
    const { folder, open } = gates();
    const job = await serves.create({ steps: 3, gates: folder });
    await serves.until(job, 'running');
    await serves.service.act('acme', job.id, 'pause');
    await until('the trainer to rest', async () => (await serves.get(job)).lease === undefined);
    open(1, 2, 3);
    await serves.service.act('acme', job.id, 'resume');
    const done = await serves.until(job, 'succeeded');
    assert.equal(done.result?.resultFiles.length, 1);
    assert.equal(trains.worker.activeCount, 0);
  });

  test('leave jobs of another base alone', async () => {
    const store = createMemoryStore();
    const other = startServer(store, { base: { ...BASE, digest: 'c'.repeat(64) } });
    const mine = openServer(store);
    const job = await mine.create({ steps: 1 });
    const theirs = await other.create({ steps: 1 });
    await other.until(theirs, 'succeeded');
    assert.equal((await mine.get(job)).token, 0);
    mine.worker.start();
    await mine.until(job, 'succeeded');
  });
});

describe('a server that ends', () => {
  test('requeues its job with a checkpoint, and another server ends with the same bytes', async () => {
    const store = createMemoryStore();
    const { folder, open } = gates();
    const first = startServer(store);
    const whole = await first.until(await first.create({ steps: 5 }), 'succeeded');
    const job = await first.create({ steps: 5, gates: folder });
    open(1, 2, 3);
    await until('step 3', async () => (await first.get(job)).progress?.step === 3);
    await first.worker.close(10_000);
    const back = await first.get(job);
    assert.deepEqual([back.status, back.lease, back.progress?.step], ['queued', undefined, 3]);
    open(4, 5);
    const { runner, starts } = watched();
    const second = startServer(store, { runner });
    const done = await second.until(job, 'succeeded');
    assert.deepEqual(starts, [`${job.id} on`]);
    assert.equal(done.result?.digest, whole.result?.digest);
    const messages = await second.messages(job);
    assert.ok(messages.includes('The server is shutting down, moving job to queued state'));
    assert.ok(messages.includes('Resumed after step 3'));
    assert.equal(done.retries, 0);
  });

  test('requeues a job that it validates', async () => {
    const store = createMemoryStore();
    const hanging: JobRunner = {
      plan: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
      outlivesServer: false,
      run: () => assert.fail('it was not validated'),
    };
    const first = startServer(store, { runner: hanging });
    const job = await first.create({ steps: 1 });
    await until('its claim', async () => (await first.get(job)).lease);
    await first.worker.close(10_000);
    const back = await first.get(job);
    assert.deepEqual([back.status, back.lease], ['validating_files', undefined]);
    const second = startServer(store);
    await second.until(job, 'succeeded');
  });

  test('without time for a checkpoint leaves the job with its last one', async () => {
    const store = createMemoryStore();
    const { folder, open } = gates();
    const inner = simulatedRunner();
    const { pause } = new RunStop().signals; // never aborts
    const deaf: JobRunner = {
      ...inner,
      run: (request, stop) => inner.run(request, { ...stop, pause }),
    };
    const first = startServer(store, { runner: deaf });
    const job = await first.create({ steps: 6, perEpoch: 2, gates: folder });
    open(1, 2, 3);
    await until('step 3', async () => (await first.get(job)).progress?.step === 3);
    await first.worker.close(0);
    open(4, 5, 6);
    const second = startServer(store);
    const done = await second.until(job, 'succeeded');
    const messages = await second.messages(job);
    assert.ok(messages.includes('Resumed after step 2'));
    assert.equal(messages.filter((text) => text.startsWith('Step ')).length, 6);
    assert.equal(done.checkpoints.length, 3);
  });
});

describe('a lease', () => {
  test('F27: that is no longer renewed is taken over, and its old holder changes nothing', async () => {
    const store = createMemoryStore();
    const whole = await (async () => {
      const server = startServer(createMemoryStore());
      return server.until(await server.create({ steps: 4 }), 'succeeded');
    })();
    const mine = gates();
    // It never looks at its record again, as a process that is stopped: 24 days until the next renewal.
    const stalled = { leaseMs: 30_000, renewMs: 2 ** 31 - 1, pollMs: 20, flushMs: 2 ** 31 - 1 };
    const first = startServer(store, { timing: stalled });
    const job = await first.create({ steps: 4, gates: mine.folder });
    const { token } = await first.until(job, 'running');
    let clockMs = 0;
    const watch = watched();
    const second = startServer(store, {
      clock: { ...systemClock, now: () => clockMs },
      runner: watch.runner,
    });
    await until('a take-over', async () => {
      clockMs += 1_000;
      return (await second.get(job)).token > token;
    });
    assert.ok(clockMs >= 30_000);
    mine.open(1, 2, 3, 4);
    const done = await second.until(job, 'succeeded');
    assert.equal(done.result?.digest, whole.result?.digest);
    await until('the first to notice', async () => first.worker.activeCount === 0);
    const after = await second.get(job);
    assert.deepEqual(after, done);
    const { aliases } = (await createRepository(store).readAliases('acme', 'colours'))!.aliases;
    assert.deepEqual(aliases['latest'], { version: done.result!.version });
    const steps = (await second.messages(job)).filter((text) => text.startsWith('Step '));
    const shown = steps.map((text) => text.slice(5, 8));
    assert.deepEqual(shown, ['1/4', '2/4', '3/4', '4/4']);
  });

  test('of a server that is known to be dead is taken over at once', async () => {
    const store = createMemoryStore();
    const { folder, open } = gates();
    const dead = { leaseMs: 30_000, renewMs: 2 ** 31 - 1, pollMs: 20, flushMs: 5 };
    const first = startServer(store, {
      timing: dead,
      owner: { name: 'dead', isGone: () => false },
    });
    const job = await first.create({ steps: 2, gates: folder });
    await first.until(job, 'running');
    open(1, 2);
    const owner = { name: 'heir', isGone: (name: string) => name === 'dead' };
    const second = startServer(store, { owner, clock: { ...systemClock, now: () => 0 } });
    const done = await second.until(job, 'succeeded');
    assert.ok(done.token >= 1);
  });
});
