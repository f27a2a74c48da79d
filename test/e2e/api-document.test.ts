// The API's document as other programs see it: redocly and spectral find no fault in it, and schemathesis, which makes thousands
// of requests from it, no answer that it does not describe. With LORIKEET_E2E_LONG; their versions are pinned.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { skipUnlessLong } from '../shared.ts';
import { npmPackages } from './npm-packages.ts';
import { createKey, type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';

const FOLDER = path.resolve('test/e2e/api-document');
const LINTERS = [
  ['redocly', 'lint', '--config', `${FOLDER}/redocly.yaml`],
  ['spectral', 'lint', '--ruleset', `${FOLDER}/spectral.yaml`, '--fail-severity', 'warn'],
] as const;
/** Several times what it takes on two busy cores. */
const MAX_MS = 900_000;

/** The same requests in every run, and fewer of the random ones than the default. */
const AMOUNT = ['--seed', '1', '--max-examples', '10', '--continue-on-failure'];
// Rules between fields, and names that must exist, are not in a JSON Schema.
const CHECKS = ['--checks', 'all', '--exclude-checks', 'positive_data_acceptance'];
// A pause would hold the requests after it for five minutes, and there is no serializer for protobuf.
const EXCLUDED = ['/pause', '/api/v1/forward_backward'].flatMap((one) => ['--exclude-path', one]);

function run(program: string, args: readonly string[]): void {
  const environment = { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  const env = { ...process.env, ...environment };
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: temporaryFolder(),
    encoding: 'utf8',
    env,
    timeout: MAX_MS,
  });
  assert.equal(status, 0, `${stdout}${stderr}`);
}

describe("the API's document", { skip: skipUnlessLong }, () => {
  const home = temporaryFolder();
  let serving: Serving;
  let authorization: string;
  before(async () => {
    authorization = `Bearer ${(await createKey('acme', home, '--admin')).key}`;
    const loadable = path.join(home, 'loadable');
    mkdirSync(loadable);
    const parts = ['--store-responses', '1h', '--loadable-adapters', loadable];
    serving = await startServing(['--model', path.resolve('models/toy'), ...parts], home);
  });
  after(() => serving?.stop());

  for (const [name, ...args] of LINTERS) {
    test(`${name} finds no fault in it`, async (t) => {
      const packages = await npmPackages(path.join(FOLDER, 'package.json'));
      if ('reason' in packages) return t.skip(packages.reason);
      const response = await fetch(`${serving.url}/openapi.json`, { headers: { authorization } });
      const file = path.join(temporaryFolder(t), 'openapi.json');
      writeFileSync(file, await response.text());
      run(path.join(packages.bin, name), [...args, file]);
    });
  }

  test('schemathesis gets no answer that it does not describe', async (t) => {
    const made = await pythonWith(path.join(FOLDER, 'schemathesis.txt'));
    if ('reason' in made) return t.skip(made.reason);
    const program = path.join(path.dirname(made.python), 'schemathesis');
    const url = `${serving.url}/openapi.json`;
    const header = ['--header', `Authorization:${authorization}`];
    run(made.python, [program, 'run', url, ...header, ...AMOUNT, ...CHECKS, ...EXCLUDED]);
  });
});
