// Progress without a terminal: few lines, each phase once per quarter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createProgress } from '../../src/cli/progress.ts';

test('without a terminal each phase is a line per quarter', () => {
  let text = '';
  const error = (line: string) => {
    text += line;
  };
  const progress = createProgress({ out: error, error });
  for (let done = 0; done <= 1000; done++) progress.update('fetch', done, 1000);
  progress.update('inspect', 5, 0);
  progress.update('inspect', 6, 0);
  progress.end();
  assert.equal(text, 'fetch: 0%\nfetch: 25%\nfetch: 50%\nfetch: 75%\nfetch: 100%\ninspect\n');
});
