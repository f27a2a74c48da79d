// Keys and a running server, as an operator uses them: made, used, revoked, each by the command.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { temporaryFolder } from '../fixtures.ts';
import { createKey, startServing, succeed } from './program.ts';

const home = temporaryFolder();

const toy = path.resolve('models/toy');
const LIMIT_MS = 5_000;

test('a key works once it is made, and is refused within 5 s of its revocation', async () => {
  const kept = await createKey('acme', home);
  const server = await startServing(['--model', toy], home);
  const status = async (key?: string) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    return (await fetch(`${server.url}/v1/models`, { headers })).status;
  };
  /** Within the time that an edit may take. */
  const becomes = async (expected: number, key: string) => {
    const startMs = performance.now();
    while ((await status(key)) !== expected) {
      assert.ok(performance.now() - startMs < LIMIT_MS, `not ${expected} within ${LIMIT_MS} ms`);
      await delay(50);
    }
  };
  assert.equal(await status(), 401);
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  assert.equal(await status(kept.key), 200);
  const made = await createKey('acme', home, '--name', 'second');
  await becomes(200, made.key);
  await succeed(['keys', 'revoke', made.id], home);
  await becomes(401, made.key);
  assert.equal(await status(kept.key), 200);
  assert.match(server.output.out, /authorization: Bearer \$KEY/);
  assert.ok(!(server.output.out + server.output.error).includes(kept.key));
  assert.equal(await server.stop(), 0);
});
