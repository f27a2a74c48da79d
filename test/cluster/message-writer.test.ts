// The pod's side of the messages: whatever arrives while a batch is being written is in the next one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { Attempt } from '../../src/cluster/attempt.ts';
import { MessageReader, MessageWriter } from '../../src/cluster/messages.ts';
import { temporaryFolder } from '../fixtures.ts';
import { step } from '../jobs/sample-jobs.ts';

const PREFIX = 'tenant/.jobs/ftjob-a/run/pods/000000001/';

test('steps that arrive while a batch is written are not lost', async (t) => {
  const memory = createMemoryStore();
  let begun = () => {};
  const putHasBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const store: ObjectStore = {
    ...memory,
    async put(...args) {
      begun();
      await released;
      return memory.put(...args);
    },
  };
  const writer = new MessageWriter({
    attempt: new Attempt(guardStore(store), PREFIX),
    runDir: temporaryFolder(t),
    last: 0,
    log: { warn() {} },
    flushMs: 0,
    onStuck: (reason) => assert.fail(reason),
  });
  const first = writer.write(step(1));
  await putHasBegun;
  const others = [writer.write(step(2)), writer.write(step(3))];
  release();
  await Promise.all([first, ...others]);
  assert.ok(await writer.close({ kind: 'succeeded' }));

  const reader = new MessageReader(new Attempt(guardStore(memory), PREFIX), temporaryFolder(t));
  const steps: number[] = [];
  for (let batch = await reader.next({}); batch; batch = await reader.next({})) {
    for (const { message } of batch.messages) if (message.type === 'step') steps.push(message.step);
  }
  assert.deepEqual(steps, [1, 2, 3]);
});
