// Adapter files that change after they were verified and before the engine reads them.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { ServeError } from '../../src/common/errors.ts';
import { weightsNamed } from '../adapters/sample.ts';
import { idle, readError, readOk, serve } from './served.ts';

class CountingAdapters extends LocalAdapters {
  readonly counts = { acquired: 0, verifiedAgain: 0, released: 0 };

  override async acquire(...args: Parameters<LocalAdapters['acquire']>) {
    const { counts } = this;
    counts.acquired++;
    const lease = await super.acquire(...args);
    let isReleased = false;
    const release = () => {
      if (!isReleased) counts.released++;
      isReleased = true;
    };
    return { ...lease, verifyAgain: () => void counts.verifiedAgain++, release };
  }
}

const mismatch = () => new ServeError('adapter_checksum_mismatch', 'changed');

for (const stream of [false, true]) {
  test(`are acquired once more, and the client sees nothing of it (stream: ${stream})`, async () => {
    const localAdapters = new CountingAdapters();
    const { counts } = localAdapters;
    const served = serve({ adapters: ['alpha'], localAdapters });
    let loads = 0;
    served.leases.beforeLease = () => {
      if (++loads === 1) throw mismatch();
    };
    const response = await served.post('/v1/completions', { model: 'alpha', prompt: 'a', stream });
    assert.equal(response.status, 200);
    await (stream ? response.text() : readOk(response));
    await idle(served);
    assert.deepEqual(counts, { acquired: 2, verifiedAgain: 1, released: 2 });
  });
}

test('that stay wrong are refused, with a header against retries', async () => {
  const localAdapters = new CountingAdapters();
  const { counts } = localAdapters;
  const served = serve({ adapters: ['alpha'], localAdapters });
  served.leases.beforeLease = () => {
    throw mismatch();
  };
  const response = await served.post('/v1/completions', { model: 'alpha', prompt: 'a' });
  assert.equal(response.status, 503);
  assert.equal(response.headers.get('x-should-retry'), 'false');
  assert.equal((await readError(response)).code, 'adapter_checksum_mismatch');
  assert.deepEqual(counts, { acquired: 2, verifiedAgain: 2, released: 2 });
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
