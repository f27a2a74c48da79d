// Who may use a server, decided at its start; and what an Authorization header says.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { ServeError } from '../../src/common/errors.ts';
import { createLog } from '../../src/common/log.ts';
import { openAccess } from '../../src/tenants/access.ts';
import { keysFileOf, makeKey, scratchFolder } from './keys.ts';

const log = createLog('silent');
const key = makeKey('acme');

function settings(given: Partial<Parameters<typeof openAccess>[0]> = {}) {
  const base = {
    keys: undefined,
    keysJson: undefined,
    keyPepper: undefined,
    host: '127.0.0.1',
    allowOpen: false,
    allowedOrigins: [],
  };
  return { ...base, home: scratchFolder(), ...given };
}

function writeKeys(home: string): string {
  const file = path.join(home, 'keys.json');
  writeFileSync(file, JSON.stringify(keysFileOf([key])));
  return file;
}

async function withKeys(given = {}) {
  const chosen = settings(given);
  writeKeys(chosen.home);
  const access = await openAccess(chosen, log);
  after(() => access.close());
  return access;
}

for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) {
  test(`without keys everybody on ${host} is the local tenant`, async () => {
    const access = await openAccess(settings({ host }), log);
    assert.equal(access.kind, 'local');
    assert.equal(access.authenticate(undefined).id, 'local');
    assert.equal(access.authenticate('Bearer anything').isAdmin, false);
  });
}

for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '::ffff:10.0.0.1', '']) {
  test(`without keys a start on ${host || 'every address'} is refused, unless it is allowed`, async () => {
    await assert.rejects(openAccess(settings({ host }), log), {
      name: 'ConfigError',
      message: /lorikeet keys create .* or set LORIKEET_ALLOW_OPEN=1/,
    });
    const allowed = await openAccess(settings({ host, allowOpen: true }), log);
    assert.equal(allowed.kind, 'open');
  });
}

test('every web page may use the server only where it asks for keys', async () => {
  const allowedOrigins = ['*'];
  await assert.rejects(openAccess(settings({ allowedOrigins }), log), {
    name: 'ConfigError',
    message: /^--allowed-origins: /,
  });
  assert.equal((await withKeys({ allowedOrigins })).kind, 'keys');
  const listed = await openAccess(settings({ allowedOrigins: ['https://a.example'] }), log);
  assert.equal(listed.kind, 'local');
});

test('the keys file of the data folder is used where it exists, on any address', async () => {
  const access = await withKeys({ host: '0.0.0.0' });
  assert.equal(access.kind, 'keys');
  assert.equal(access.authenticate(`Bearer ${key.text}`).id, 'acme');
});

test('a keys file that was named and is not there, or is faulty, is a wrong setting', async () => {
  const home = scratchFolder();
  const missing = settings({ keys: path.join(home, 'none.json') });
  await assert.rejects(openAccess(missing, log), {
    name: 'ConfigError',
    message: /does not exist/,
  });
  const file = path.join(home, 'bad.json');
  writeFileSync(file, '{}');
  await assert.rejects(openAccess(settings({ keys: file }), log), { name: 'ConfigError' });
  await assert.rejects(openAccess(settings({ keys: home }), log), { name: 'ConfigError' });
});

test('the environment may hold the keys, on any address, but not beside a file that is named', async () => {
  const keysJson = JSON.stringify(keysFileOf([key]));
  const access = await openAccess(settings({ keysJson, host: '0.0.0.0' }), log);
  assert.equal(access.kind, 'keys');
  assert.equal(access.authenticate(`Bearer ${key.text}`).id, 'acme');
  const both = settings({ keysJson, keys: '/etc/keys.json' });
  await assert.rejects(openAccess(both, log), { name: 'ConfigError' });
  const secret = `{"version":1,"keys":"${key.text}"`;
  await assert.rejects(openAccess(settings({ keysJson: secret }), log), {
    name: 'ConfigError',
    message: 'LORIKEET_KEYS_JSON: keys file: is not JSON',
  });
});

test('another pepper makes every key invalid', async () => {
  const access = await withKeys({ keyPepper: 'salt' });
  assert.throws(() => access.authenticate(`Bearer ${key.text}`), { code: 'invalid_api_key' });
});

test('the scheme is Bearer, in any case', async () => {
  const access = await withKeys();
  for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
    assert.equal(access.authenticate(`${scheme} ${key.text}`).id, 'acme');
  }
  const basic = `Basic ${Buffer.from(`acme:${key.text}`).toString('base64')}`;
  const wrong = [undefined, '', 'Bearer', 'Bearer ', key.text, basic, `Bearer ${key.text} x`];
  const messages = wrong.map((header) => {
    try {
      return access.authenticate(header).id;
    } catch (error) {
      assert.ok(error instanceof ServeError);
      return `${error.status} ${error.code} ${error.message}`;
    }
  });
  assert.equal(new Set(messages).size, 1, 'one answer for all');
  assert.match(messages[0]!, /^401 invalid_api_key /);
});

test('a tenant is known as long as it has a key, and never as an admin', async () => {
  const admin = makeKey('ops', true);
  const keysJson = JSON.stringify(keysFileOf([admin], { ops: { weight: 3 }, keyless: {} }));
  const access = await openAccess(settings({ keysJson }), log);
  const tenant = access.tenantOf('ops');
  assert.deepEqual([tenant?.id, tenant?.weight, tenant?.isAdmin], ['ops', 3, false]);
  assert.equal(access.tenantOf('keyless'), undefined);
  assert.equal((await withKeys()).tenantOf('acme')?.id, 'acme');
  const local = await openAccess(settings(), log);
  assert.deepEqual([local.tenantOf('local')?.id, local.tenantOf('acme')], ['local', undefined]);
});
