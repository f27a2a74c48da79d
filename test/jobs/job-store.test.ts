// Jobs in a store: races lose no change and no event and repeat none, and marks lead to every job that is not over.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { type ObjectStore, StoreError } from '../../adapters/store/store.ts';
import type { ServeError } from '../../src/common/errors.ts';
import { createLog } from '../../src/common/log.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { type JobRecord, messageEvent, withEvents } from '../../src/jobs/job.ts';
import { JobStore } from '../../src/jobs/job-store.ts';
import { wrapStore } from '../adapters/store/wrapped-store.ts';
import { pluck } from '../pluck.ts';
import { JOB, newJob } from './sample-jobs.ts';

/** Of another tenant. */
const OTHER_ID = 'ftjob-0190c0ffee00aabbccddeef0';

async function stored(store: ObjectStore = createMemoryStore()) {
  const jobs = new JobStore(guardStore(store, createLog('silent')));
  return { store, jobs, job: await jobs.create(newJob()) };
}

async function allEvents(jobs: JobStore, pageSize: number): Promise<number[]> {
  const job = await jobs.get(JOB);
  const seqs: number[] = [];
  let before = job.eventCount;
  while (true) {
    const page = await jobs.events(job, before, pageSize);
    if (page.length === 0) return seqs;
    seqs.push(...page.map(({ seq }) => seq));
    before = page.at(-1)!.seq;
  }
}

const descending = (count: number) => Array.from({ length: count }, (_, i) => count - 1 - i);

/** A store whose puts of a key take effect, but whose answers are lost. */
function losingAnswers(inner: ObjectStore, isLost: () => boolean): ObjectStore {
  return {
    ...wrapStore(inner),
    async put(key, source, options) {
      const written = await inner.put(key, source, options);
      if (key.endsWith('job.json') && isLost()) throw new StoreError('unavailable', 'no answer');
      return written;
    },
  };
}

describe('events', () => {
  for (const pageSize of [1, 7, 20, 1000]) {
    test(`of all batches are listed newest first, in pages of ${pageSize}`, async () => {
      const { jobs } = await stored();
      for (let i = 0; i < 40; i++) {
        const events = Array.from({ length: i % 13 }, (_, k) => messageEvent(`${i}.${k}`));
        await jobs.change(JOB, (now) => withEvents(now, events, i));
      }
      const { eventCount, recentEvents } = await jobs.get(JOB);
      assert.ok(eventCount > 150 && recentEvents.length <= 61);
      assert.deepEqual(await allEvents(jobs, pageSize), descending(eventCount));
    });
  }

  test('of many writers at once are each there once', async () => {
    const { jobs } = await stored();
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let i = 0; i < 12; i++) {
        await jobs.change(JOB, (now) => withEvents(now, [messageEvent(`${writer}.${i}`)], i));
      }
    });
    await Promise.all(writers);
    const job = await jobs.get(JOB);
    assert.equal(job.eventCount, 96);
    assert.deepEqual(await allEvents(jobs, 10), descending(96));
    const texts = (await jobs.events(job, 96, 96)).map(({ message }) => message);
    assert.equal(new Set(texts).size, 96);
  });

  test('are apart from samples, which are listed newest first, once per step', async () => {
    const { jobs, job } = await stored();
    const samplesOf = (step: number, reward: number) => {
      const sample = { text: 'Blue.', tokens: 2, finish: 'stop' as const, reward, parts: {} };
      return { step, prompts: [{ text: 'Which?', completions: [sample] }] };
    };
    for (const step of [1, 2, 10, 11, 10]) await jobs.addSamples(job, samplesOf(step, step / 10));
    await jobs.addSamples(job, samplesOf(2, 0.9)); // sent again by a resumed run
    const newestFirst = [11, 10, 2, 1].map((step) => samplesOf(step, step / 10));
    assert.deepEqual(await jobs.samples(job, Number.POSITIVE_INFINITY, 9), newestFirst);
    assert.deepEqual(await jobs.samples(job, 10, 1), [samplesOf(2, 0.2)]);
    assert.equal((await jobs.events(job, 9, 9)).length, 0);
  });

  test('whose write had no answer are told once', async () => {
    let count = 0;
    const store = losingAnswers(createMemoryStore(), () => ++count % 3 === 0);
    const { jobs } = await stored(store);
    for (let i = 0; i < 120; i++) {
      await jobs.change(JOB, (now) => withEvents(now, [messageEvent(`${i}`)], i));
    }
    assert.equal((await jobs.get(JOB)).eventCount, 120);
    assert.deepEqual(await allEvents(jobs, 50), descending(120));
  });
});

describe('a job', () => {
  test('is one and the same for all who create it at once', async () => {
    const store = createMemoryStore();
    const jobs = new JobStore(guardStore(store));
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, i) => jobs.create(newJob({ createdMs: i }))),
    );
    assert.equal(new Set(made.map(({ createdMs }) => createdMs)).size, 1);
  });

  test('of another tenant, an unknown job and a wrong id are the same 404', async () => {
    const { jobs } = await stored();
    const answers: string[] = [];
    for (const name of [
      { ...JOB, tenant: 'rival' },
      { ...JOB, id: 'ftjob-0190c0ffee00aabbccddeef0' },
    ]) {
      await assert.rejects(jobs.get(name), (error: ServeError) => {
        answers.push(error.message.replaceAll(name.id, 'ID'));
        return error.status === 404;
      });
      await assert.rejects(
        jobs.change(name, (now) => now),
        { status: 404 },
      );
    }
    assert.equal(new Set(answers).size, 1);
    for (const id of ['../acme/.jobs', '', 'ftjob-', 'ftjob-a/b', 'x'.repeat(500)]) {
      await assert.rejects(jobs.get({ ...JOB, id }), (error: ServeError) => error.status === 404);
    }
  });

  test('whose record is damaged is an alert, not a crash', async () => {
    const { store, jobs } = await stored();
    await store.put(`${JOB.tenant}/.jobs/${JOB.id}/job.json`, Buffer.from('{"schema":1}'));
    await assert.rejects(jobs.get(JOB), { name: 'ServeError', code: 'object_damaged' });
  });
});

describe('marks', () => {
  test('lead to each job from its creation until its mark is removed', async () => {
    const { jobs, job } = await stored();
    const idsOf = (list: readonly JobRecord[]) => list.map(({ id }) => id);
    assert.deepEqual(idsOf(await jobs.readMarked(await jobs.marks())), [job.id]);
    assert.equal(await jobs.countActive('acme'), 1);
    assert.equal(await jobs.countActive('acm'), 0);
    await jobs.removeMark(job);
    assert.deepEqual(await jobs.readMarked(await jobs.marks()), []);
    assert.equal((await jobs.get(JOB)).id, job.id);
  });

  test('without a job are removed after an hour', async () => {
    const store = createMemoryStore();
    let nowMs = 0;
    const jobs = new JobStore(guardStore(store), { ...systemClock, now: () => nowMs });
    await store.put(`.active-jobs/${JOB.id}.acme`, new Uint8Array());
    assert.deepEqual(await jobs.readMarked(await jobs.marks()), []);
    assert.equal(await jobs.countActive('acme'), 1);
    nowMs += 3_700_000;
    await jobs.readMarked(await jobs.marks());
    assert.equal(await jobs.countActive('acme'), 0);
  });

  test('F23: of a job that is being created stays, however far the clock of the store is behind', async () => {
    const store = createMemoryStore({ now: () => 0 });
    const jobs = new JobStore(guardStore(store));
    await store.put(`.active-jobs/${JOB.id}.acme`, new Uint8Array());
    assert.deepEqual(await jobs.readMarked(await jobs.marks()), []);
    await jobs.create(newJob());
    assert.equal((await jobs.readMarked(await jobs.marks())).length, 1);
  });

  test('of a damaged job stay, and are told apart from the other jobs', async () => {
    const store = createMemoryStore();
    let nowMs = 0;
    const jobs = new JobStore(guardStore(store), { ...systemClock, now: () => nowMs });
    const job = await jobs.create(newJob());
    await store.put(`.active-jobs/${OTHER_ID}.rival`, new Uint8Array());
    await store.put(`rival/.jobs/${OTHER_ID}/job.json`, Buffer.from('{"schema":1}'));
    for (const _ of [1, 2]) {
      const damaged: string[] = [];
      const found = await jobs.readMarked(await jobs.marks(), ({ id }) => void damaged.push(id));
      assert.deepEqual([found.map(({ id }) => id), damaged], [[job.id], [OTHER_ID]]);
      nowMs += 3_700_000;
    }
  });

  test('with a wrong name are ignored', async () => {
    const { store, jobs, job } = await stored();
    for (const key of ['x', 'x.y', 'ftjob-1', '..a']) {
      await store.put(`.active-jobs/${key}`, new Uint8Array());
    }
    assert.deepEqual(pluck(await jobs.readMarked(await jobs.marks()), 'id'), [job.id]);
  });
});

test('ids of a tenant are listed newest first', async () => {
  const jobs = new JobStore(guardStore(createMemoryStore()));
  const ids = ['ftjob-01', 'ftjob-03', 'ftjob-02'];
  for (const id of ids) {
    await jobs.create(newJob({ id }));
  }
  assert.deepEqual(await jobs.ids('acme'), ['ftjob-03', 'ftjob-02', 'ftjob-01']);
  assert.deepEqual(await jobs.ids('rival'), []);
});
