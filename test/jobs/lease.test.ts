// Leases count while they are renewed, by the watcher's own clock. A server that lost its lease notices before it changes
// anything.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import { isOwnerGone } from '../../src/common/file-lock.ts';
import { createOwner } from '../../src/common/process-id.ts';
import { messageEvent, withEvents } from '../../src/jobs/job.ts';
import { JobStore } from '../../src/jobs/job-store.ts';
import { LeaseLost, LeaseWatch, RecordLease } from '../../src/jobs/lease.ts';
import { wrapStore } from '../adapters/store/wrapped-store.ts';
import { JOB, messagesOf, newJob } from './sample-jobs.ts';

function watchAt(isGone = (_owner: string) => false) {
  let nowMs = 0;
  const watch = new LeaseWatch({ now: () => nowMs, leaseMs: 30_000, isGone });
  return { watch, wait: (ms: number) => (nowMs += ms) };
}

const lease = (beat: number, token = 1) => ({ id: JOB.id, lease: { owner: 'other', token, beat } });

describe('a lease', () => {
  test('that is renewed never expires', () => {
    const { watch, wait } = watchAt();
    for (let beat = 0; beat < 10; beat++) {
      assert.equal(watch.isFree(lease(beat)), false);
      wait(29_999);
      assert.equal(watch.isFree(lease(beat)), false);
    }
  });

  test('that is not renewed in time expires', () => {
    const { watch, wait } = watchAt();
    assert.equal(watch.isFree(lease(5)), false);
    wait(30_000);
    assert.equal(watch.isFree(lease(5)), true);
    assert.equal(watch.isFree(lease(0, 2)), false, 'another has taken it');
  });

  test('of an owner that is known to be gone is free at once, and so is a job without a lease', () => {
    assert.equal(watchAt(() => true).watch.isFree(lease(0)), true);
    assert.equal(watchAt().watch.isFree({ id: JOB.id }), true);
  });

  test('of another process on this machine ends with the process', () => {
    const ended = spawnSync(process.execPath, ['-e', '']).pid;
    const [machine] = createOwner('x').split('#');
    assert.equal(isOwnerGone(`${machine}#${ended}#x`), true);
    assert.equal(isOwnerGone(`${machine}#${process.ppid}#x`), false);
    assert.equal(isOwnerGone(`elsewhere#${ended}#x`), false);
  });
});

async function claimedJob(store: ObjectStore = createMemoryStore()) {
  let nowMs = 0;
  const jobs = new JobStore(guardStore(store));
  const options = { records: jobs, leaseMs: 30_000, clock: () => nowMs };
  const job = await jobs.create(newJob({ status: 'queued' }));
  const mine = await RecordLease.claim(job, 'me', options);
  assert.ok(mine);
  return { jobs, mine, job, options, wait: (ms: number) => (nowMs += ms) };
}

describe('a leased job', () => {
  test('is claimed by one of many', async () => {
    const jobs = new JobStore(guardStore(createMemoryStore()));
    const job = await jobs.create(newJob({ status: 'queued' }));
    const options = { records: jobs, leaseMs: 30_000, clock: () => 0 };
    const owners = Array.from({ length: 20 }, (_, i) => `server-${i}`);
    const claims = await Promise.all(owners.map((owner) => RecordLease.claim(job, owner, options)));
    const won = claims.filter((claim) => claim !== undefined);
    assert.equal(won.length, 1);
    assert.equal(won[0]!.fencingToken, 1);
  });

  test('F27: that another server has taken cannot be changed, and the lease is lost', async () => {
    const { jobs, mine, options } = await claimedJob();
    const taken = await RecordLease.claim(mine.record, 'other', options);
    assert.equal(taken?.fencingToken, 2);
    const change = mine.change((now) => withEvents(now, [messageEvent('late')], 1));
    await assert.rejects(change, LeaseLost);
    assert.ok(mine.lost.aborted);
    await assert.rejects(mine.release(), LeaseLost);
    const now = await jobs.get(JOB);
    assert.deepEqual(messagesOf(now), []);
    assert.equal(now.lease?.owner, 'other');
  });

  test('is given up if the store is away for as long as a lease', async () => {
    let isDown = false;
    const store = wrapStore(createMemoryStore(), async (work) => {
      if (isDown) throw new StoreError('unavailable', 'the test says so');
      return work();
    });
    const { mine, wait } = await claimedJob(store);
    isDown = true;
    wait(29_000);
    await assert.rejects(mine.change(), { code: 'store_unavailable' });
    assert.ok(!mine.lost.aborted);
    wait(1_000);
    await assert.rejects(mine.change(), { code: 'store_unavailable' });
    assert.ok(mine.lost.aborted);
  });

  test('changes in the order of the calls', async () => {
    const { jobs, mine } = await claimedJob();
    const changes = Array.from({ length: 30 }, (_, i) =>
      mine.change((now) => withEvents(now, [messageEvent(`${i}`)], 1)),
    );
    await Promise.all(changes);
    assert.deepEqual(
      messagesOf(await jobs.get(JOB)).map(Number),
      Array.from({ length: 30 }, (_, i) => i),
    );
    assert.equal(mine.record.lease?.beat, 30);
  });
});
