// The keys file: what it may say, and that it is replaced whole.
import assert from 'node:assert/strict';
import {
  chmodSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { NO_KEYS, parseKeysFile, updateKeysFile } from '../../src/tenants/keys-file.ts';
import { keysFileOf, makeKey, scratchFolder } from './keys.ts';

const key = makeKey('acme');
const good = keysFileOf([key]);

test('a file that only names a tenant gives it the defaults', () => {
  const file = parseKeysFile('{"version":1,"tenants":{"acme":{}},"keys":[]}');
  assert.deepEqual(file.tenants, { acme: { weight: 1, limits: {} } });
});

const acme = (settings: object) => ({ ...good, tenants: { acme: settings } });
const most = { adapterCache: { reserved: 0.6 } };
const greedy = { ...good, tenants: { acme: most, b: most } };
const FAULTS: readonly [what: string, file: unknown, message: RegExp][] = [
  ['no object', [], /^keys file: root: /],
  ['another version', { ...good, version: 2 }, /version/],
  ['an unknown setting', acme({ wieght: 2 }), /tenants\.acme: .*wieght/],
  ['a weight of 0', acme({ weight: 0 }), /tenants\.acme\.weight/],
  ['a weight over 100', acme({ weight: 101 }), /tenants\.acme\.weight/],
  ['a limit of 0', acme({ limits: { tokensPerMinute: 0 } }), /limits\.tokensPerMinute/],
  ['a limit that is no integer', acme({ limits: { requestsPerMinute: 1.5 } }), /requestsPerMinute/],
  ['a part over 1', acme({ adapterCache: { max: 1.5 } }), /tenants\.acme\.adapterCache\.max/],
  ['a part over its maximum', acme({ adapterCache: { reserved: 0.5, max: 0.2 } }), /adapterCache/],
  ['more than the whole cache', greedy, /reserved of all tenants together must be at most 1/],
  ['an unknown limit', acme({ limits: { perHour: 1 } }), /limits: .*perHour/],
  ['a pattern with a slash', acme({ allowedAdapters: ['a/b'] }), /allowedAdapters\.0/],
  ['a tenant that leads out', { ...good, tenants: { '../a': {} } }, /tenants\.\.\.\/a/],
  ['the owner of what is shared', { ...good, tenants: { shared: {} } }, /tenants\.shared/],
  ['a key of no tenant', { ...good, tenants: {} }, /keys\.0\.tenant: is not one of the tenants/],
  ['a key of a prototype', keysFileOf([makeKey('acme')]), /keys\.0\.tenant/],
  ['an id twice', { ...good, keys: [key.entry, key.entry] }, /keys\.1\.id: is a duplicate/],
  ['half a hash', { ...good, keys: [{ ...key.entry, sha256: 'ab' }] }, /keys\.0\.sha256/],
];

for (const [what, file, message] of FAULTS) {
  test(`${what} is refused by name`, () => {
    const text = JSON.stringify(file).replace('"acme","admin"', '"constructor","admin"');
    const isPrototype = what === 'a key of a prototype';
    assert.throws(() => parseKeysFile(isPrototype ? text : JSON.stringify(file)), { message });
  });
}

test('text that is no JSON is refused without a word of it', () => {
  assert.throws(() => parseKeysFile(key.text), { message: 'keys file: is not JSON' });
});

test('a new file is its owner’s alone, in a folder that need not exist', async () => {
  const file = path.join(scratchFolder(), 'home', 'keys.json');
  await updateKeysFile(file, () => good);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(parseKeysFile(readFileSync(file, 'utf8')), good);
});

test('a file that exists keeps its mode, and a link stays a link', async () => {
  const folder = scratchFolder();
  const [file, link] = [path.join(folder, 'real.json'), path.join(folder, 'keys.json')];
  writeFileSync(file, JSON.stringify(NO_KEYS));
  chmodSync(file, 0o640);
  symlinkSync(file, link);
  await updateKeysFile(link, () => good);
  assert.equal(statSync(file).mode & 0o777, 0o640);
  assert.deepEqual(parseKeysFile(readFileSync(file, 'utf8')), good);
  assert.deepEqual(readdirSync(folder).sort(), ['keys.json', 'real.json']);
});

test('writers at once take turns: none is lost', async () => {
  const file = path.join(scratchFolder(), 'keys.json');
  const made = Array.from({ length: 4 }, () => makeKey('acme'));
  await Promise.all(
    made.map((own) =>
      updateKeysFile(file, ({ keys }) => ({ ...good, keys: [...keys, own.entry] })),
    ),
  );
  const ids = parseKeysFile(readFileSync(file, 'utf8')).keys.map(({ id }) => id);
  assert.deepEqual(ids.sort(), made.map(({ entry }) => entry.id).sort());
});

test('a change that fails leaves the file, and nothing beside it', async () => {
  const folder = scratchFolder();
  const file = path.join(folder, 'keys.json');
  await updateKeysFile(file, () => good);
  const before = readFileSync(file, 'utf8');
  const fail = () => {
    throw new Error('no');
  };
  await assert.rejects(updateKeysFile(file, fail), { message: 'no' });
  await assert.rejects(updateKeysFile(file, () => ({ ...good, tenants: {} })));
  assert.equal(readFileSync(file, 'utf8'), before);
  assert.deepEqual(readdirSync(folder), ['keys.json']);
});
