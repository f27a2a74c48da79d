// A deadline that is due while its job ends must not end the next job of the process.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { JobDeadline } from '../src/common/job-process.ts';

/** Returns whether it stopped the job, if `whenDue` happens in the turn in which it is due. */
async function stops(whenDue: (deadline: JobDeadline) => void): Promise<boolean> {
  const deadline = new JobDeadline();
  let isStopped = false;
  deadline.start(1, () => {
    isStopped = true;
  });
  await delay(1); // timers of equal times end in their order
  whenDue(deadline);
  for (let i = 0; i < 5; i++) await nextTurn();
  return isStopped;
}

test('a deadline that is due stops the job', async () => {
  assert.equal(await stops(() => {}), true);
});

test('a deadline that is due stops nothing if the job ends before an answer could be read', async () => {
  assert.equal(await stops((deadline) => deadline.end()), false);
});
