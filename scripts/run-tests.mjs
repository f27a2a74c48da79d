#!/usr/bin/env node
// Runs Node's test runner over every *.test.ts below a folder, because Node 20 neither expands globs nor finds .ts files.
// Where Node strips types itself, it does so in a third less time than tsx.
// `test` skips test/e2e and test/bench, which have commands of their own. The argument may also be a single file.
// Fails if there are no tests. TEST_COUNTS=FILE also writes "passed failed skipped" and the failures to a file, for callers that
// add up runs. In such a run, files with a failure run once more, alone, because a machine that does other things as well makes
// a test fail now and then. What passes then counts, and is told.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';

const [folder = 'test', ...args] = process.argv.slice(2);
const separate = ['test/e2e', 'test/bench'];
const named = folder.endsWith('.test.ts');
const files = (named ? [''] : readdirSync(folder, { recursive: true }))
  .map((name) => path.join(folder, name))
  .filter((file) => file.endsWith('.test.ts'))
  .filter((file) => separate.every((s) => folder.startsWith(s) || !file.startsWith(s + path.sep)))
  .sort();
if (files.length === 0) {
  process.stderr.write(`no tests found below ${folder}\n`);
  process.exit(1);
}
const counts = process.env['TEST_COUNTS'];
const reporters = (counts) => [
  ...['--test-reporter', 'spec', '--test-reporter-destination', 'stdout'],
  ...['--test-reporter', './scripts/count-reporter.mjs', '--test-reporter-destination', counts],
];
/** More at once are no accident. */
const MAX_UNSTEADY_FILES = 3;
// By default Node runs one file at a time on two cores, and one of these tests often waits. The end-to-end tests load both.
const atOnce = Math.max(
  availableParallelism() - 1,
  separate.some((s) => folder.startsWith(s)) ? 1 : 2,
);
const types = process.features.typescript ? [] : ['--import', 'tsx'];
const options = ['--expose-gc', ...types, '--test', `--test-concurrency=${atOnce}`];

/** Returns whether all tests passed. */
function run(counts, args, files) {
  const { status } = spawnSync(
    process.execPath,
    [...options, ...(counts ? reporters(counts) : []), ...args, ...files],
    { stdio: 'inherit' },
  );
  return status === 0;
}

/** Runs the files alone in which tests failed. If all pass, the counts say so, with a line "# unsteady: …" for each failure. */
function passesAlone() {
  const [first, ...lines] = readFileSync(counts, 'utf8').trimEnd().split('\n');
  const failures = lines.filter((line) => !line.startsWith('# shown:'));
  const failed = new Set(failures.map((line) => /^# (.*?\.test\.ts): /.exec(line)?.[1] ?? ''));
  if (failed.size === 0 || failed.size > MAX_UNSTEADY_FILES || failed.has('')) return false;
  process.stdout.write(`\nonce more, alone: ${[...failed].join(' ')}\n`);
  const again = path.join(mkdtempSync(path.join(tmpdir(), 'lorikeet-tests-')), 'counts');
  const hasPassed = run(again, ['--test-concurrency=1'], failed);
  const shown = readFileSync(again, 'utf8').trimEnd().split('\n').slice(1);
  rmSync(path.dirname(again), { recursive: true });
  if (!hasPassed) return false;
  const [passed, unsteady, skipped] = first.split(' ').map(Number);
  const told = failures.map((line) => line.replace('# ', '# unsteady: '));
  const others = lines.filter((line) => line.startsWith('# shown:'));
  writeFileSync(
    counts,
    [`${passed + unsteady} 0 ${skipped}`, ...told, ...others, ...shown, ''].join('\n'),
  );
  return true;
}

process.exit(run(counts, args, files) || (counts && passesAlone()) ? 0 : 1);
