// Adapter files that change after they were verified and before the engine reads them.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ServeError } from '../../src/common/errors.ts';
import { weightsNamed } from '../adapters/sample.ts';
import { CountedAdapters } from './published.ts';
import { assertRefused, idle, readOk, serve } from './served.ts';

const mismatch = () => new ServeError('adapter_checksum_mismatch', 'changed');

for (const stream of [false, true]) {
  test(`are acquired once more, and the client sees nothing of it (stream: ${stream})`, async () => {
    const localAdapters = new CountedAdapters();
    const served = serve({ adapters: ['alpha'], localAdapters });
    let loads = 0;
    served.leases.beforeLease = () => {
      if (++loads === 1) throw mismatch();
    };
    const response = await served.post('/v1/completions', { model: 'alpha', prompt: 'a', stream });
    assert.equal(response.status, 200);
    await (stream ? response.text() : readOk(response));
    await idle(served);
    assert.deepEqual(localAdapters.leased, { total: 2, verifiedAgain: 1, held: 0 });
  });
}

test('that stay wrong are refused, with a header against retries', async () => {
  const localAdapters = new CountedAdapters();
  const served = serve({ adapters: ['alpha'], localAdapters });
  served.leases.beforeLease = () => {
    throw mismatch();
  };
  const response = await served.post('/v1/completions', { model: 'alpha', prompt: 'a' });
  assert.equal(response.headers.get('x-should-retry'), 'false');
  await assertRefused(response, { status: 503, code: 'adapter_checksum_mismatch' });
  assert.deepEqual(localAdapters.leased, { total: 2, verifiedAgain: 2, held: 0 });
});

test('of a folder that is replaced are those of the new content', async () => {
  const served = serve({ adapters: ['alpha'] });
  const seen: string[] = [];
  served.leases.beforeLease = ({ parts: [part] }) => {
    seen.push(part!.digest);
    if (seen.length > 1) return;
    writeFileSync(path.join(part!.directory, 'adapter_model.safetensors'), weightsNamed('other'));
    throw mismatch();
  };
  const response = await served.post('/v1/completions', { model: 'alpha', prompt: 'a' });
  await readOk(response);
  assert.equal(seen.length, 2);
  assert.notEqual(seen[0], seen[1]);
  assert.equal(response.headers.get('x-lorikeet-adapter'), seen[1]);
});
