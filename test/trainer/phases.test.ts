// A run reports what it does between its steps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { Phases } from '../../trainer/run/phases.ts';
import { questions, runToy, writeRows } from './toy-runs.ts';

/** The messages as text: a phase by its name at its begin and end, a step by its number. */
function storyOf(messages: readonly TrainerMessage[]): string[] {
  return messages.flatMap((message) => {
    if (message.type === 'step') return [`step ${message.step} done`];
    if (message.type !== 'progress') return [];
    const { phase, done, total } = message;
    return done === 0 || done === total ? [`${phase} ${done}/${total || '?'}`] : [];
  });
}

test('a run reports that it loads and measures the base, begins its first step, validates and evaluates', async (t) => {
  const rows = { data: writeRows(t, questions(8, 'Blue.')) };
  const validation = writeRows(t, questions(12, 'Blue.', 50));
  const job = { ...rows, validation, epochs: 2, evalEvery: 1, gate: false };
  const story = storyOf((await runToy(t, job, { gate: false })).messages);
  const [begin, end] = [story[0]!, story[1]!];
  assert.match(begin, /^load base 0\/\d+$/);
  assert.equal(end, begin.replace(/0\/(\d+)/, '$1/$1'));
  assert.deepEqual(story.slice(2), [
    ...['measure base 0/3', 'measure base 3/3'], // the fixed text, and two batches
    ...['step 1 0/1', 'step 1 1/1', 'validate 0/2', 'validate 2/2', 'step 1 done'],
    ...['step 2 0/1', 'step 2 1/1', 'validate 0/2', 'validate 2/2', 'step 2 done'],
    'evaluate 0/?',
  ]);
});

test('a batch that takes long is reported while it runs', (t) => {
  t.mock.method(performance, 'now', () => (nowMs += 200));
  let nowMs = 0;
  const shares: number[] = [];
  const phases = new Phases((message) => message.type === 'progress' && shares.push(message.done));
  phases.begin('step 1', 2);
  for (let done = 1; done <= 10; done++) phases.withinBatch(done, 10);
  assert.deepEqual(shares, [0, 0.3, 0.6, 0.9]);
});

test('a phase that counts quickly is reported at its begin, its end, and rarely in between', () => {
  const messages: TrainerMessage[] = [];
  const count = new Phases((message) => messages.push(message)).counter('load base');
  for (let done = 0; done <= 1000; done++) count(done, 1000);
  assert.ok(messages.length < 10, String(messages.length));
  assert.deepEqual(storyOf(messages), ['load base 0/1000', 'load base 1000/1000']);
});
