// GET /v1/tenants, and keys that may only read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Me, TenantSettings } from '../../src/contracts/management-api.ts';
import { keyedTenants } from '../../src/tenants/keys-file.ts';
import { keysFileOf, makeKey } from '../tenants/keys.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, readOk, serve, utf8 } from './served.ts';

interface List {
  readonly data: readonly TenantSettings[];
  readonly has_more: boolean;
  readonly last_id: string;
}

const body = { model: 'base', prompt: 'abc', max_tokens: 20 };
const limits = { requestsPerMinute: 60, tokensPerMinute: 1000 };

test('an admin sees tenants with their limits, use and keys, and no secret', async () => {
  const served = serveKeyed({
    tenants: { ops: {}, acme: { limits, allowedAdapters: ['zen'] } },
    admins: ['ops'],
    reply: () => utf8('0123456789'),
  });
  await readOk(await served.ask('acme', '/v1/completions', body));
  const list = await readOk<List>(await served.ask('ops', '/v1/tenants'));
  const { id } = served.keys['acme']!.entry;
  const created_at = Date.UTC(2026, 10, 25, 4) / 1000;
  assert.deepEqual(list.data[0], {
    object: 'tenant.settings',
    id: 'acme',
    default_model: null,
    allowed_adapters: ['zen'],
    weight: 1,
    limits: { requests_per_minute: 60, tokens_per_minute: 1000, concurrent_requests: null },
    use: { requests: 1, tokens: 13, running: 0 },
    key_count: 1,
    keys: [{ id, name: null, is_admin: false, is_read_only: false, created_at }],
  });
  assert.equal(list.data[1]?.id, 'ops');
  const text = JSON.stringify(list);
  for (const { text: key, entry } of Object.values(served.keys)) {
    assert.ok(!text.includes(key) && !text.includes(entry.sha256));
  }
  const page = await readOk<List>(await served.ask('ops', '/v1/tenants?limit=1'));
  assert.deepEqual([page.data.length, page.has_more, page.last_id], [1, true, 'acme']);
  const next = await readOk<List>(await served.ask('ops', '/v1/tenants?limit=1&after=acme'));
  assert.deepEqual([next.data[0]?.id, next.has_more], ['ops', false]);
});

test('only an admin key lists tenants, and a server without keys has none', async () => {
  const served = serveKeyed({ tenants: { acme: {} } });
  await assertRefused(await served.ask('acme', '/v1/tenants'), { status: 403, code: 'forbidden' });
  assert.equal((await serve().app.request('/v1/tenants')).status, 404);
});

test('a tenant’s newest keys come first, and one without keys is listed', () => {
  const keys = [makeKey('acme'), makeKey('acme')];
  const [acme, idle] = keyedTenants(keysFileOf(keys, { idle: {} }));
  assert.deepEqual(
    acme!.keys.map(({ id }) => id),
    keys.map(({ entry }) => entry.id).reverse(),
  );
  assert.deepEqual([idle!.tenant.id, idle!.keys], ['idle', []]);
});

test('a key that may only read sees what others see, and changes nothing', async () => {
  const served = serveKeyed({
    tenants: { acme: {}, ops: {} },
    admins: ['ops'],
    readOnly: ['acme', 'ops'],
  });
  const me = await readOk<Me>(await served.ask('ops', '/v1/me'));
  assert.deepEqual([me.is_admin, me.is_read_only], [true, true]);
  assert.equal((await served.ask('ops', '/v1/tenants')).status, 200);
  assert.equal((await served.ask('acme', '/v1/models')).status, 200);
  for (const [path, init] of [
    ['/v1/completions', { method: 'POST', body: JSON.stringify(body) }],
    ['/v1/files/file-1', { method: 'DELETE' }],
    ['/v1/quarantine', { method: 'DELETE' }],
    ['/v1/nowhere', { method: 'PATCH' }],
  ] as const) {
    const refused = await served.ask('ops', path, undefined, init);
    await assertRefused(refused, { status: 403, code: 'forbidden' });
  }
});
