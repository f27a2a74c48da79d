// A server that ran out of file descriptors for a moment works again when it has some.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { programUrl } from '../src/common/fork-program.ts';
import { temporaryFolder } from './fixtures.ts';
import { argumentsOf } from './node-program.ts';

test('a store and a page that failed for lack of file descriptors work again afterwards', (t) => {
  const program = argumentsOf(programUrl('./starved-program', import.meta.url));
  const args = ['-c', 'ulimit -n 128 && exec "$@"', 'sh', process.execPath, ...program];
  const output = execFileSync('sh', [...args, temporaryFolder(t)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'], // the framework prints the page's error
  });
  const { starved, after } = JSON.parse(output.trim().split('\n').at(-1)!);
  assert.match(starved.put, /EMFILE/);
  assert.equal(starved.page, 500);
  assert.deepEqual(after, { put: 'written', page: 200 });
});
