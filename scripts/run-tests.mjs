#!/usr/bin/env node
// Runs node's test runner over every *.test.ts below a folder: Node 20 expands no globs and finds no .ts by itself.
// `test` leaves out test/e2e and test/bench, which have their own commands; one file may be named instead of a folder.
// An empty list fails.
// TEST_COUNTS=FILE: also writes "passed failed skipped" there, for a caller that sums over runs.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
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
const reporters = [
  ...['--test-reporter', 'spec', '--test-reporter-destination', 'stdout'],
  ...['--test-reporter', './scripts/count-reporter.mjs', '--test-reporter-destination', counts],
];
const { status } = spawnSync(
  process.execPath,
  ['--expose-gc', '--import', 'tsx', '--test', ...(counts ? reporters : []), ...args, ...files],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);
