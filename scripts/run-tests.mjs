#!/usr/bin/env node
// Runs Node's test runner on every *.test.ts below a folder, because Node 20 neither expands globs nor finds .ts files. Node runs
// the sources if it strips types, and bundles otherwise. `test` skips test/e2e and test/bench, which have separate commands. The
// argument may also be a single file. Fails if there are no tests. TEST_COUNTS=FILE also writes "passed failed skipped" and the
// failures to a file, for callers that add up runs.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { bundleSources } from './bundle-sources.mjs';

const [folder = 'test', ...args] = process.argv.slice(2);
const separate = ['test/e2e', 'test/bench'];
const FILES_OF_A_GROUP = 8;
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
const isUnit = !separate.some((s) => folder.startsWith(s));
const entries = isUnit && !named ? inGroups(files) : files;
// On two cores, Node by default runs one file at a time, although tests often wait. Benchmarks are measured alone.
const least = isUnit ? 4 : 2;
const atOnce = folder.startsWith('test/bench') ? 1 : Math.max(availableParallelism() - 1, least);
const tests = process.features.typescript ? entries : await bundleSources(entries);
const options = ['--expose-gc', '--enable-source-maps', '--test', `--test-concurrency=${atOnce}`];
const { status } = spawnSync(
  process.execPath,
  [...options, ...(counts ? reporters : []), ...args, ...tests],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);

/**
 * Starting a process and importing the project takes longer than the tests of most files, so files share processes. Hooks
 * outside a suite would be those of every file in the group, and some tests measure their process: these files run alone.
 * @param {string[]} files
 * @returns {string[]} files that import a group each, in a folder that is removed when this process exits, and the others
 */
function inGroups(files) {
  const alone = files.filter((file) =>
    /^(before|after)(Each)?\(|^\/\/.*Runs alone:|process\.memoryUsage/m.test(
      readFileSync(file, 'utf8'),
    ),
  );
  const shared = files.filter((file) => !alone.includes(file));
  const count = Math.ceil(shared.length / FILES_OF_A_GROUP);
  mkdirSync('.cache', { recursive: true });
  const dir = mkdtempSync(path.join('.cache', 'groups-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const groups = Array.from({ length: count }, (_, group) => {
    const imports = shared
      .filter((_, i) => i % count === group)
      .map((file) => `import '../../${file}';\n`);
    const file = path.join(dir, `group-${group + 1}.test.ts`);
    writeFileSync(file, imports.join(''));
    return file;
  });
  return [...groups, ...alone];
}
