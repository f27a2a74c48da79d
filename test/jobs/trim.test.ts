// Replaced checkpoints are removed, even if a server dies at any call.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import { StoreError } from '../../adapters/store/store.ts';
import { type JobRecord, withCheckpoint, withoutDropped } from '../../src/jobs/job.ts';
import { Publication } from '../../src/jobs/publication.ts';
import { countedStore, type Fault, shelf } from '../adapters/repository/shelf.ts';
import { JOB, newJob } from './sample-jobs.ts';

const NAME = newJob().name;
const METRICS = { loss: 1, tokenAccuracy: 0.5 };
const RIGHT = { fencingToken: 1, confirm: async () => {} };
const DEAD: Fault = { isDone: false, error: new StoreError('unavailable', 'the process is gone') };

const BASE = { name: 'toy', digest: 'b'.repeat(64), dir: '/there/model' };

function publicationOver(repository: AdapterRepository, right = RIGHT): Publication {
  return new Publication({ repository, base: BASE, onPublished: () => {} }, right);
}

/** A job with four checkpoints published, one of which its record has given up. */
async function withFour({ open, adapter }: ReturnType<typeof shelf>): Promise<JobRecord> {
  const publication = publicationOver(open());
  let job = newJob();
  for (const step of [1, 2, 3, 4]) {
    const snapshot = {
      type: 'snapshot',
      step,
      directory: adapter(step),
      metrics: METRICS,
    } as const;
    const { version, digest } = await publication.checkpoint(job, snapshot);
    const checkpoint = { step, version, digest, createdMs: 1, metrics: METRICS };
    job = withCheckpoint(job, checkpoint);
  }
  assert.deepEqual(job.dropped, [{ step: 1, version: 1 }]);
  return job;
}

async function versionsIn(repository: AdapterRepository): Promise<number[]> {
  return (await repository.listVersions(JOB.tenant, NAME)).map(({ version }) => version);
}

async function aliasesIn(repository: AdapterRepository): Promise<string[]> {
  return Object.keys((await repository.readAliases(JOB.tenant, NAME))!.aliases.aliases);
}

async function callsOfTrim(t: TestContext): Promise<number> {
  const place = shelf(t);
  const job = await withFour(place);
  const counted = countedStore(place.store);
  await publicationOver(place.open(counted)).trim(job);
  return counted.calls.length;
}

test('if a server dies at any call, the next one removes the rest, once', async (t) => {
  const count = await callsOfTrim(t);
  assert.ok(count >= 6);
  for (let k = 1; k <= count; k++) {
    const place = shelf(t);
    const job = await withFour(place);
    const dying = place.open(countedStore(place.store, (n) => (n >= k ? DEAD : undefined)));
    const end = await publicationOver(dying)
      .trim(job)
      .then(
        () => 'done',
        ({ code }) => code,
      );
    const repository = place.open();
    // Announcing a removal may fail without harm, when all is removed.
    if (end === 'done') assert.deepEqual(await versionsIn(repository), [2, 3, 4], `call ${k}`);
    else assert.equal(end, 'adapter_unavailable');
    await publicationOver(repository).trim(job);
    await publicationOver(repository).trim(job);
    assert.deepEqual(await versionsIn(repository), [2, 3, 4], `call ${k}`);
    assert.equal((await aliasesIn(repository)).length, 3, `call ${k}`);
  }
});

test('a version with somebody else’s alias stays', async (t) => {
  const place = shelf(t);
  const job = await withFour(place);
  const repository = place.open();
  await repository.moveAlias(job, 'mine', { version: 1 });
  await publicationOver(repository).trim(job);
  assert.deepEqual(await versionsIn(repository), [1, 2, 3, 4]);
  assert.ok((await aliasesIn(repository)).includes('mine'));
});

test('an alias that leads to a newer version of its step stays', async (t) => {
  const place = shelf(t);
  const { open, adapter } = place;
  const job = await withFour(place);
  const publication = publicationOver(open(), { ...RIGHT, fencingToken: 2 });
  const snapshot = { type: 'snapshot', step: 4, directory: adapter(9), metrics: METRICS } as const;
  const { version, digest } = await publication.checkpoint(job, snapshot);
  const again = withCheckpoint(job, { step: 4, version, digest, createdMs: 2, metrics: METRICS });
  await publication.trim(again);
  const repository = open();
  assert.deepEqual(await versionsIn(repository), [2, 3, 5]);
  assert.equal((await aliasesIn(repository)).length, 3);
  assert.deepEqual(withoutDropped(again, again.dropped).dropped, []);
});
