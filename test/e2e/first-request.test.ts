// The first request with an adapter waits for no session: a server is ready only when those of its demo adapters exist.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { createLog } from '../../src/common/log.ts';
import { createEngineHost } from '../../src/compose/engine.ts';
import { createInProcessClient } from '../../src/compose/in-process-client.ts';
import { ortFunctions } from '../../src/ort/runtime.ts';
import { StepLoop } from '../../src/scheduler/step-loop.ts';
import { defaultServing } from '../default-serving.ts';
import { testUnless } from '../shared.ts';
import { adapterIn, fetchBase, generate, home } from './served.ts';

const CREATION = 'CreateSessionFromArrayWithPrepackedWeightsContainer';
const base = await fetchBase();
const skip = 'reason' in base ? base.reason : false;
const test = testUnless(skip);

/** Counts the sessions whose creation begins. */
function watchSessions(t: TestContext): { count: number } {
  const functions = ortFunctions();
  const original = functions[CREATION];
  t.after(() => {
    functions[CREATION] = original;
  });
  const sessions = { count: 0 };
  functions[CREATION] = {
    sync: original.sync,
    async(...args) {
      sessions.count++;
      return original.async(...args);
    },
  };
  return sessions;
}

test('neither the first request of a demo adapter nor the first mixed batch creates a session', async (t) => {
  const dir = 'dir' in base ? base.dir : '';
  const sessions = watchSessions(t);
  const kept = { weights: 'int8', cacheDir: path.join(home, 'cache') } as const;
  const engine = { ...(await defaultServing(dir, kept)), slotCount: 8, maxSeqLength: 128 };
  const host = await createEngineHost({ engine, adapterCacheBytes: 1 << 28 }, () => {});
  host.engine.prepareAhead = async () => false; // on a slow machine it would come between the requests
  const client = createInProcessClient(new StepLoop(host), createLog('silent'));
  t.after(() => client.drain(0));
  await client.whenReady();
  const whenReady = sessions.count;
  assert.ok(whenReady > 1, 'the base and adapters');
  const [intent, ...others] = await Promise.all(
    ['intent', 'zen', 'wordnet'].map((name) => adapterIn(path.join('models/demo', name))),
  );
  const request = { promptIds: [1, 100, 200, 300], maxTokens: 4 };
  await generate(client, intent, request);
  assert.equal(sessions.count, whenReady, 'the first request');
  const mixed = [undefined, intent, ...others];
  await Promise.all(mixed.map((adapter) => generate(client, adapter, request)));
  assert.equal(sessions.count, whenReady, 'the first mixed batch');
});
