// The hosts that a request may be addressed to: addresses, loopback and the operator's names, and no others (B09).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serve } from './served.ts';

const { app } = serve({ allowedHosts: ['api.example'] });
const statusFor = async (host: string) =>
  (await app.request('/livez', { headers: { host } })).status;

test('an address is taken, as probes and scrapers of a cluster ask by it', async () => {
  for (const host of ['127.0.0.1', '10.42.0.17:8080', '[::1]:8080', '[fd00::2]']) {
    assert.equal(await statusFor(host), 200, host);
  }
});

test('a name is accepted if the operator listed it', async () => {
  for (const host of ['localhost:8080', 'api.example', 'API.example:443']) {
    assert.equal(await statusFor(host), 200, host);
  }
});

test('B09, T43: any other name is refused, also one that looks like an address', async () => {
  for (const host of [
    'evil.example',
    '10.0.0.1.evil.example',
    '127.1',
    '0x7f.0.0.1',
    '[evil]',
    '',
  ]) {
    assert.equal(await statusFor(host), 400, host);
  }
});

test('a star stands for all names below one, and alone for all well-formed ones', async () => {
  const allowing = (host: string) => serve({ allowedHosts: [host] }).app;
  const statusAt = async (app: typeof below, host: string) =>
    (await app.request('/livez', { headers: { host } })).status;
  const below = allowing('*.example.org');
  for (const host of ['api.example.org', 'a.b.EXAMPLE.org:443']) {
    assert.equal(await statusAt(below, host), 200, host);
  }
  for (const host of ['example.org', 'evilexample.org', 'example.org.evil', '.example.org.']) {
    assert.equal(await statusAt(below, host), 400, host);
  }
  const all = allowing('*');
  assert.equal(await statusAt(all, 'anything.example'), 200);
  for (const host of ['*', 'a/b', 'a b', '']) assert.equal(await statusAt(all, host), 400, host);
});
