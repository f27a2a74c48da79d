// A thousand unfinished jobs: what a scan asks of the store, and how soon a job is taken over whose server has died.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { JobStore } from '../../src/jobs/job-store.ts';
import { type JobLease, RecordLease } from '../../src/jobs/lease.ts';
import { LEASE_TIMING } from '../../src/jobs/lease-worker.ts';
import { watchStore } from '../adapters/published.ts';
import { VirtualClock } from '../adapters/tiers/virtual-clock.ts';
import { newJob } from './sample-jobs.ts';
import { BASE, openServer } from './simulated.ts';

const settle = async (turns = 600) => {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
};

const idOf = (i: number) => `ftjob-${String(i).padStart(24, '0')}`;

test('records are read once, then only the ones of silent servers, and a dead one is replaced within 28 s', async () => {
  const inner = createMemoryStore();
  const clock = new VirtualClock();
  const advance = async () => {
    clock.advance(3_000);
    await settle();
  };
  const holder = new JobStore(guardStore(inner), clock);
  const foreign = { ...newJob(), base: { name: 'other', digest: 'f'.repeat(64) } };
  for (let i = 0; i < 900; i++) await holder.create({ ...foreign, id: idOf(i), status: 'queued' });
  const options = { records: holder, leaseMs: LEASE_TIMING.leaseMs, clock: clock.now };
  const leases: JobLease[] = [];
  for (let i = 900; i < 1000; i++) {
    const base = i === 999 ? { name: BASE.name, digest: BASE.digest } : foreign.base;
    const job = await holder.create({ ...newJob({ id: idOf(i) }), status: 'running', base });
    leases.push((await RecordLease.claim(job, 'other', options))!);
  }
  const store = watchStore(inner);
  const timing = { ...LEASE_TIMING, flushMs: 500, diskRetryMs: 50 };
  const server = openServer(store, { clock, timing });
  server.worker.start();
  await settle();
  assert.equal(store.reads.filter((key) => key.endsWith('job.json')).length, 1000);
  for (let i = 0; i < 40; i++) {
    for (const lease of leases) await lease.change();
    await advance(); // the first scan is followed by a pause for its reads
  }
  store.reads.length = 0;
  for (let i = 0; i < 20; i++) {
    for (const lease of leases) await lease.change();
    await advance();
  }
  assert.ok(store.reads.length <= 60, `${store.reads.length} requests in a minute`);

  const { fencingToken } = leases.pop()!;
  const diedMs = clock.now();
  while ((await holder.get({ tenant: 'acme', id: idOf(999) })).token === fencingToken) {
    for (const lease of leases) await lease.change();
    await advance();
    await settle(20_000); // what the server does on the disk takes real time
    assert.ok(clock.now() - diedMs <= 28_000, 'too late');
  }
  assert.ok(clock.now() - diedMs >= LEASE_TIMING.leaseMs, 'too early');
});
