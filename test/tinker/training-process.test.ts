// A real trainer that serves: its priority is the server's, although a job's is lower.
import assert from 'node:assert/strict';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { TrainingProcess } from '../../src/tinker/training-process.ts';
import { temporaryFolder } from '../fixtures.ts';

test('the trainer of a loop has the priority of its server', async (t) => {
  const pids: number[] = [];
  const log = {
    info: ({ pid }: { readonly pid: number }) => void pids.push(pid),
    warn() {},
  };
  const trainer = new TrainingProcess({
    request: {
      command: 'serve',
      memory: undefined,
      model: path.resolve('models/toy'),
      directory: temporaryFolder(t),
      threads: 1,
    },
    child: { log: log as never },
  });
  t.after(() => trainer.kill());
  assert.equal(await trainer.perform({ kind: 'drop', model: 'none' }), null);
  assert.deepEqual(
    pids.map((pid) => os.getPriority(pid)),
    [os.getPriority()],
  );
});
