// The class of a real trainer's threads, as the kernel tells it.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { TrainPriority } from '../../src/contracts/training-messages.ts';
import { forkTrainer } from '../../src/jobs/trainer-child.ts';
import { writeRows } from '../e2e/rows.ts';
import { temporaryFolder } from '../fixtures.ts';

const skip = process.platform === 'linux' ? false : 'only Linux has the idle scheduling class';
const SCHED_OTHER = 0;
const SCHED_IDLE = 5;
/** In `/proc/PID/stat`, counted from the field after the name. */
const POLICY_FIELD = 38;

function startTrainer(t: TestContext, priority: TrainPriority) {
  const dir = temporaryFolder(t);
  const overrides = { model: path.resolve('models/toy'), data: writeRows(dir), epochs: 1000 };
  const trainer = forkTrainer(
    {
      ...{ command: 'train', job: { file: undefined, overrides }, outDir: path.join(dir, 'run') },
      adaptersDir: undefined,
    },
    { priority, niceness: 10 },
  );
  t.after(() => trainer.kill('SIGKILL'));
  return trainer;
}

/** The classes of all of its threads. */
function classesOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[POLICY_FIELD]);
  });
}

test('T26: all threads of a trainer with priority idle are in the idle class', {
  skip,
}, async (t) => {
  const trainer = startTrainer(t, 'idle');
  // Not later than that: on a machine that is never idle it may not take its first step for minutes.
  while (trainer.exitCode === null && classesOf(trainer.pid!).some((one) => one !== SCHED_IDLE)) {
    await setTimeout(5);
  }
  assert.equal(trainer.exitCode, null);
  assert.ok(classesOf(trainer.pid!).length > 1);
});

test('a trainer with priority nice stays in the normal class', { skip }, async (t) => {
  const trainer = startTrainer(t, 'nice');
  await new Promise((resolve, reject) => {
    trainer.once('message', resolve).once('exit', () => reject(new Error('it ended')));
  });
  assert.deepEqual(new Set(classesOf(trainer.pid!)), new Set([SCHED_OTHER]));
});
