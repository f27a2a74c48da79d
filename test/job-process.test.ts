// A job that reaches a limit costs its process. The caller learns which limit, and the next job gets a new process.
import assert from 'node:assert/strict';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { programUrl } from '../src/common/fork-program.ts';
import { JobProcess } from '../src/common/job-process.ts';

const PROGRAM = programUrl('./job-program', import.meta.url);
const ECHO = JSON.stringify('echo');

test('a job that never ends is stopped by the clock, and the next one is answered', async () => {
  const jobs = new JobProcess('small constraints', PROGRAM, {
    deadlineMs: 1000,
    maxHeapMb: 64,
    maxRemembered: 2,
  });
  const outcomes = await Promise.all([jobs.run('"loop"'), jobs.run(ECHO)]);
  assert.deepEqual(outcomes, [{ limit: 'time', part: 3 }, { result: 'echo' }]);
});

const skip = process.platform === 'linux' ? false : 'only Linux tells what a process computed';

test('a job that waits for a core has more time, but not for ever', { skip }, async () => {
  const jobs = new JobProcess('small constraints', PROGRAM, {
    deadlineMs: 200,
    maxHeapMb: 64,
    maxRemembered: 2,
  });
  const outcomes = await Promise.all([jobs.run('"wait"'), jobs.run('"wait for ever"')]);
  assert.deepEqual(outcomes, [{ result: 'wait' }, { limit: 'time', part: 3 }]);
});

test('a job that takes all memory ends its process only', async () => {
  const jobs = new JobProcess('small constraints', PROGRAM, {
    deadlineMs: 60_000,
    maxHeapMb: 32,
    maxRemembered: 2,
  });
  const outcomes = await Promise.all([jobs.run('"grow"'), jobs.run(ECHO)]);
  assert.deepEqual(outcomes, [{ limit: 'memory', part: 3 }, { result: 'echo' }]);
});

test('a job has a lower priority than its parent', async () => {
  const jobs = new JobProcess('small constraints', PROGRAM, {
    deadlineMs: 60_000,
    maxHeapMb: 64,
    maxRemembered: 2,
  });
  const outcome = await jobs.run('"priority"');
  assert.ok('result' in outcome && Number(outcome.result) > getPriority(), JSON.stringify(outcome));
});

test('large results that are kept take a bounded memory', async () => {
  const jobs = new JobProcess<number>('small constraints', PROGRAM, {
    deadlineMs: 60_000,
    maxHeapMb: 64,
    maxRemembered: 4,
    bytesOf: () => 3 * 2 ** 20,
  });
  const run = async (name: string) => {
    const outcome = await jobs.run(JSON.stringify(`count ${name}`));
    return 'result' in outcome && outcome.result;
  };
  const results = [];
  for (const name of ['a', 'b', 'a', 'c', 'a', 'b']) results.push(await run(name));
  assert.deepEqual(results, [1, 2, 1, 3, 1, 4], 'two of them fit');
});
