// A gateway names the tenants of its requests in a header, which only the listed proxies may send.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../../src/common/log.ts';
import type { Tenant } from '../../src/contracts/tenant.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { createGateway, openAccess } from '../../src/tenants/access.ts';
import { createKeyDigest } from '../../src/tenants/api-key.ts';
import { KeyRing } from '../../src/tenants/key-ring.ts';
import { temporaryFolder } from '../fixtures.ts';
import { serveKeyed } from '../http/keyed.ts';
import { keysFileOf, makeKey } from './keys.ts';

const PROXY = '10.1.2.3';
const key = makeKey('acme');
const ring = new KeyRing(keysFileOf([key], { acme: { weight: 3 } }), createKeyDigest(undefined));
const config = {
  tenantHeader: 'x-tenant',
  trustedProxies: ['10.1.0.0/16', 'fd00::/8', '192.0.2.9'],
};
const gateway = createGateway(config, (id) => ring.named(id));
assert(gateway);

test('a listed proxy names any tenant: known ones with their settings, none as an admin', () => {
  assert.equal(gateway.tenantOf('acme', PROXY)!.weight, 3);
  for (const address of [PROXY, `::ffff:${PROXY}`, '192.0.2.9', 'fd12::1']) {
    const named: Tenant = gateway.tenantOf('new-one', address)!;
    assert.deepEqual([named.id, named.isAdmin, named.weight], ['new-one', false, 1], address);
  }
});

test('the header of any other address is ignored, and so is a request without one', () => {
  for (const address of ['10.2.0.1', '192.0.2.8', '::1', 'fe80::1', '', undefined]) {
    assert.equal(gateway.tenantOf('acme', address), undefined, address);
  }
  assert.equal(gateway.tenantOf(undefined, PROXY), undefined);
});

test('a name that cannot be a tenant is refused by the name of the header', () => {
  for (const id of ['', 'Acme', '../acme', 'shared', 'constructor '.repeat(9)]) {
    const expected = { code: 'invalid_request', param: 'x-tenant' };
    assert.throws(() => gateway.tenantOf(id, PROXY), expected, id);
  }
  assert.equal(gateway.tenantOf('constructor', PROXY)!.weight, 1);
});

test('a request behind the proxy belongs to the named tenant without a key; others need a key', async () => {
  const { app, keys } = serveKeyed({ tenants: { acme: {} }, gateway });
  const ask = async (remoteAddress: string, headers: Record<string, string>) => {
    const env = { incoming: { socket: { remoteAddress } } };
    const response = await app.request('/v1/me', { headers }, env);
    return response.status === 200
      ? ((await response.json()) as { id: string }).id
      : response.status;
  };
  assert.equal(await ask(PROXY, { 'x-tenant': 'zeta' }), 'zeta');
  assert.equal(await ask(PROXY, { 'x-tenant': 'zeta', authorization: 'Bearer none' }), 'zeta');
  assert.equal(await ask(PROXY, {}), 401);
  assert.equal(await ask('10.2.0.1', { 'x-tenant': 'zeta' }), 401);
  const authorization = `Bearer ${keys['acme']!.text}`;
  assert.equal(await ask('10.2.0.1', { 'x-tenant': 'zeta', authorization }), 'acme');
});

test('the header and the proxies are set together, and proxies are addresses', () => {
  for (const half of [
    { ...config, trustedProxies: undefined },
    { ...config, tenantHeader: undefined },
  ]) {
    assert.throws(() => createGateway(half, (id) => ring.named(id)), /--trusted-proxies/);
  }
  for (const proxies of ['proxy.internal', '10.0.0.0/33', '10.0.0']) {
    const env = { LORIKEET_TRUSTED_PROXIES: proxies };
    assert.throws(() => loadConfig({}, env), /LORIKEET_TRUSTED_PROXIES: must be IP addresses/);
  }
});

test('the lines of a batch find a tenant that a gateway has named, with and without a keys file', async () => {
  const home = temporaryFolder();
  const ofFile = { ...loadConfig({}, {}), ...config, home };
  const keysJson = JSON.stringify(keysFileOf([key], {}));
  for (const settings of [ofFile, { ...ofFile, keysJson }]) {
    const access = await openAccess(settings, createLog('silent'));
    assert.equal(access.tenantOf('zeta')!.id, 'zeta');
    access.close();
  }
  const access = await openAccess({ ...loadConfig({}, {}), home }, createLog('silent'));
  assert.equal(access.tenantOf('zeta'), undefined);
});
