// Progress on a terminal is one line. In a log, long phases say that they still run.
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createBar, createProgress } from '../../src/cli/progress.ts';
import { withReminders } from '../../src/cli/reminders.ts';

test('on a terminal all phases share one line, and each counts from its own start', () => {
  const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 200 });
  const bar = createBar(stream);
  for (const phase of ['download', 'quantize', 'write']) {
    for (let done = 0; done <= 10; done++) bar.update(phase, done, 10);
  }
  bar.update('inspect', 0, 0, 'unknown length');
  bar.end();
  const text = String(stream.read());
  assert.equal(text.split('\n').length, 2, JSON.stringify(text));
  for (const phase of ['download', 'quantize', 'write']) {
    assert.match(text, new RegExp(`${phase} .*%`));
  }
  const [, last] = /.*\r?(inspect .*)\n$/s.exec(text)!;
  assert.match(last!, /^inspect \| \S+ unknown length/);
});

/** A log, and the progress that is written to it. */
function openLog() {
  const lines: string[] = [];
  const error = (line: string) => void lines.push(line.trim());
  const terminal = { out: error, error };
  return { lines, progress: withReminders(createProgress(terminal), terminal) };
}

test('in a log a phase of known length says every half minute how far it is', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const { lines, progress } = openLog();
  progress.update('prepare', 0, 1000);
  progress.update('prepare', 10, 1000);
  t.mock.timers.tick(30_000);
  progress.update('prepare', 200, 1000);
  t.mock.timers.tick(30_000);
  progress.update('prepare', 900, 1000);
  t.mock.timers.tick(30_000);
  progress.end();
  assert.deepEqual(lines, [
    'prepare: 0%',
    'prepare: 1%, 30 s so far',
    'prepare: 20%, 60 s so far, 4 min left',
    'prepare: 75%',
    'prepare: 90%, 90 s so far, 10 s left',
  ]);
});

test('in a log a long phase says that it still runs, until the next phase or its end', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const { lines, progress } = openLog();
  progress.update('load base', 0, 0);
  t.mock.timers.tick(10_000);
  progress.update('step 1', 0, 2);
  progress.update('step 1', 0.25, 2);
  t.mock.timers.tick(10_000);
  progress.update('step 1', 0.4, 2, 'detail');
  t.mock.timers.tick(30_000);
  progress.update('write', 0, 10);
  t.mock.timers.tick(9_000);
  progress.end();
  t.mock.timers.tick(60_000);
  assert.deepEqual(lines, [
    ...['load base', 'load base: 10 s so far'],
    ...['step 1: 0%', 'step 1: 12%, 10 s so far, 70 s left'],
    'step 1: 20% detail, 40 s so far, 3 min left',
    'write: 0%',
  ]);
});
