#!/usr/bin/env node
// Runs Node's test runner on every *.test.ts below a folder, because Node 20 neither expands globs nor finds .ts files. Node runs
// the sources if it strips types, and bundles otherwise. `test` skips test/e2e and test/bench, which have separate commands. The
// argument may also be a single file. Fails if there are no tests. TEST_COUNTS=FILE also writes "passed failed skipped" and the
// failures to a file, for callers that add up runs.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { bundleSources } from './bundle-sources.mjs';

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
// On two cores, Node by default runs one file at a time, although tests often wait. Benchmarks are measured alone.
const atOnce = folder.startsWith('test/bench') ? 1 : Math.max(availableParallelism() - 1, 2);
const tests = process.features.typescript ? files : await bundleSources(files);
// A file that never ends fails by its name.
const timeoutMs = (process.env['LORIKEET_E2E_LONG'] ? 120 : 15) * 60_000;
const options = ['--expose-gc', '--enable-source-maps', '--test', `--test-concurrency=${atOnce}`];
const { status } = spawnSync(
  process.execPath,
  [...options, `--test-timeout=${timeoutMs}`, ...(counts ? reporters : []), ...args, ...tests],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);
