// Clients that leave while their adapter is resolved, fetched, loaded or run: afterwards nothing is held.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { servePublished } from './published.ts';
import { idle } from './served.ts';

const URL = '/v1/completions';

interface Visit {
  adapter: number;
  stream: boolean;
  choices: number;
  startsAt: number;
  /** Undefined: it stays to the end. */
  leavesAfter: number | undefined;
}

/** So many turns of the event loop. */
async function pass(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await nextTurn();
}

const visits: fc.Arbitrary<Visit> = fc.record({
  adapter: fc.integer({ min: 1, max: 3 }),
  stream: fc.boolean(),
  choices: fc.integer({ min: 1, max: 3 }),
  startsAt: fc.integer({ min: 0, max: 20 }),
  leavesAfter: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined }),
});

test('T27: whenever a client leaves, no lease, slot or fetch is left, and the others are answered', async () => {
  const served = servePublished(undefined, { slotCount: 4, admission: { maxWaiting: 1000 } });
  const slow = { store: 0, engine: 0 };
  served.store.beforeRead = () => pass(slow.store);
  served.leases.beforeLease = () => pass(slow.engine);
  for (const name of ['warm-1', 'warm-2']) {
    await served.publish('local', name);
    await served.post(URL, { model: name, prompt: 'a' });
  }
  let count = 0;

  const visit = async (one: Visit, name: string): Promise<number | 'left'> => {
    await pass(one.startsAt);
    const leaving = new AbortController();
    if (one.leavesAfter !== undefined) void pass(one.leavesAfter).then(() => leaving.abort());
    const body = { model: name, prompt: 'a', max_tokens: 8, n: one.choices, stream: one.stream };
    try {
      const response = await served.post(URL, body, { signal: leaving.signal });
      await response.text();
      return leaving.signal.aborted ? 'left' : response.status;
    } catch (error) {
      assert.ok(leaving.signal.aborted, String(error));
      return 'left';
    }
  };

  const turns = fc.integer({ min: 0, max: 8 });
  const clients = fc.array(visits, { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(clients, turns, turns, async (all, store, engine) => {
      const cold = `cold-${++count}`;
      await served.publish('local', cold);
      const names = ['warm-1', 'warm-2', cold];
      Object.assign(slow, { store, engine });
      const answers = await Promise.all(all.map((one) => visit(one, names[one.adapter - 1]!)));
      const stayed = answers.filter((_, i) => all[i]!.leavesAfter === undefined);
      assert.ok(stayed.every((status) => status === 200));
      await idle(served, 500);
      while (served.fetching() > 0) await nextTurn();
      assert.equal(served.leased.held, 0);
    }),
    { numRuns: 40 },
  );
});
