// GET /v1/me: the tenant of a key.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveKeyed } from './keyed.ts';
import { readOk, serve } from './served.ts';

test('returns the tenant and whether the key is an admin key', async () => {
  const keyed = serveKeyed({ tenants: { acme: {}, ops: {} }, admins: ['ops'] });
  for (const [tenant, isAdmin] of [
    ['acme', false],
    ['ops', true],
  ] as const) {
    assert.deepEqual(await readOk(await keyed.ask(tenant, '/v1/me')), {
      object: 'tenant',
      id: tenant,
      is_admin: isAdmin,
      is_read_only: false,
      needs_key: true,
    });
  }
  assert.equal((await keyed.app.request('/v1/me')).status, 401);
});

test('a server without keys says that it needs none', async () => {
  const rights = { is_admin: false, is_read_only: false };
  const expected = { object: 'tenant', id: 'local', ...rights, needs_key: false };
  assert.deepEqual(await readOk(await serve().app.request('/v1/me')), expected);
});

test('a tenant at its limit of requests still gets an answer, which does not count', async () => {
  const keyed = serveKeyed({ tenants: { acme: { limits: { requestsPerMinute: 1 } } } });
  for (let i = 0; i < 3; i++) assert.equal((await keyed.ask('acme', '/v1/me')).status, 200);
  assert.equal((await keyed.ask('acme', '/v1/models')).status, 200);
  assert.equal((await keyed.ask('acme', '/v1/models')).status, 429);
  assert.equal((await keyed.ask('acme', '/v1/me')).status, 200);
});
