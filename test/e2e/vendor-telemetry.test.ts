// ONNX Runtime's telemetry is off in every program that loads the library: it keeps no device id and asks no name server,
// even if the environment turns it on.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { runLorikeet, startServing } from './program.ts';
import { writeRows } from './rows.ts';

const TOY = path.resolve('models/toy');
/** The library sends nothing if one of these is set. */
const CI_VARIABLES = [
  ...['CI', 'TF_BUILD', 'GITHUB_ACTIONS', 'GITLAB_CI', 'CIRCLECI', 'TRAVIS', 'JENKINS_URL'],
  ...['CODEBUILD_BUILD_ID', 'BUILDKITE', 'TEAMCITY_VERSION', 'APPVEYOR', 'BITBUCKET_BUILD_NUMBER'],
  ...['SYSTEM_TEAMFOUNDATIONCOLLECTIONURI', 'ORT_RUNNING_UNIT_TESTS', 'XDG_CACHE_HOME'],
];
const canTrace = spawnSync('strace', ['-f', '-o', '/dev/null', 'true']).status === 0;

interface Place {
  /** For the program's data. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly launcher: readonly string[];
}

const PROGRAMS: Readonly<Record<string, (place: Place) => Promise<unknown>>> = {
  async 'the server and its engine'({ folder, environment, launcher }) {
    const args = ['--model', TOY, '--weights', 'int8'];
    const server = await startServing(args, folder, environment, launcher);
    const response = await fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'base', prompt: 'a', max_tokens: 4 }),
    });
    assert.equal(response.status, 200);
    assert.equal(await server.stop(), 0);
  },
  async 'the trainer'({ folder, environment, launcher }) {
    const job = path.join(folder, 'job.json');
    writeFileSync(job, JSON.stringify({ model: TOY, data: writeRows(folder), rank: 4, epochs: 1 }));
    const args = ['train', job, '--out', path.join(folder, 'run')];
    const { code, error } = await runLorikeet(args, folder, environment, launcher);
    assert.equal(code, 0, error);
  },
  async 'an import'({ folder, environment, launcher }) {
    const args = ['import', TOY, '--out', path.join(folder, 'base')];
    const { code, error } = await runLorikeet(args, folder, environment, launcher);
    assert.equal(code, 0, error);
  },
  async 'a test'({ environment, launcher }) {
    const program = ['--import', 'tsx', 'test/ort/exit-program.ts', 'by itself'];
    const [command, ...args] = [...launcher, process.execPath, ...program];
    const env = { ...process.env, ...environment };
    const [code] = await once(spawn(command!, args, { env, stdio: 'ignore' }), 'close');
    assert.equal(code, 0);
  },
};

for (const [name, run] of Object.entries(PROGRAMS)) {
  test(`${name} keeps no device id and connects to nobody`, async (t) => {
    const folder = temporaryFolder(t);
    const home = path.join(folder, 'user');
    mkdirSync(home);
    const trace = path.join(folder, 'trace');
    const environment = {
      ...Object.fromEntries(CI_VARIABLES.map((variable) => [variable, ''])),
      HOME: home,
      ORT_DISABLE_TELEMETRY: '0',
    };
    const tracer = ['strace', '-D', '-f', '-qq', '-o', trace, '-e', 'trace=execve,connect'];
    await run({ folder, environment, launcher: canTrace ? tracer : [] });
    assert.deepEqual(readdirSync(home, { recursive: true }), []);
    await t.test('traced', { skip: !canTrace && 'strace is not installed' }, () => {
      const calls = readFileSync(trace, 'utf8').split('\n');
      assert.ok(calls.length > 1, 'the program was traced');
      assert.deepEqual(
        calls.filter((call) => /sa_family=AF_INET/.test(call)),
        [],
      );
    });
  });
}
