// lorikeet keys: made, listed, revoked; what is printed once and what never.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { createKeyDigest } from '../../src/tenants/api-key.ts';
import { KeyRing } from '../../src/tenants/key-ring.ts';
import { parseKeysFile } from '../../src/tenants/keys-file.ts';
import { scratchFolder } from '../tenants/keys.ts';
import { runCommand, runMain } from './command.ts';

const keys = (file: string, ...args: string[]) => runCommand(['keys', ...args, '--keys', file]);

const newFile = () => path.join(scratchFolder(), 'keys.json');
const readKeys = (file: string) => parseKeysFile(readFileSync(file, 'utf8'));
const find = (file: string, key: string) =>
  new KeyRing(readKeys(file), createKeyDigest(undefined)).find(key);

describe('lorikeet keys', () => {
  test('create prints the key alone to standard output, and the file finds its tenant by it', async () => {
    const file = newFile();
    const { code, out, error } = await keys(file, 'create', '--tenant', 'acme');
    assert.equal(code, 0);
    assert.match(out, /^lorikeet_[0-9a-f]{12}_[\w-]{43}\n$/);
    assert.match(error, /not shown again/);
    assert.equal(find(file, out.trim())?.id, 'acme');
    assert.ok(!readFileSync(file, 'utf8').includes(out.trim().slice(22)));
  });

  test('create keeps what the file says of a tenant', async () => {
    const file = newFile();
    const limits = { requestsPerMinute: 7 };
    const tenants = { acme: { weight: 3, limits, defaultModel: 'zen' } };
    writeFileSync(file, JSON.stringify({ version: 1, tenants, keys: [] }));
    const { out } = await keys(file, 'create', '--tenant', 'acme', '--admin');
    assert.deepEqual(find(file, out.trim()), { id: 'acme', isAdmin: true, ...tenants.acme });
  });

  test('a read-only key is known as such, and listed with its rights', async () => {
    const file = newFile();
    const { out } = await keys(file, 'create', '--tenant', 'ops', '--admin', '--read-only');
    const tenant = find(file, out.trim());
    assert.deepEqual([tenant?.isAdmin, tenant?.isReadOnly], [true, true]);
    assert.match((await keys(file, 'list')).out, /ops +admin, read-only/);
  });

  test('list shows all but secrets and hashes', async () => {
    const file = newFile();
    const made = [];
    for (const args of [['--name', 'laptop'], ['--admin']]) {
      const { out } = await keys(file, 'create', '--tenant', 'acme', '--json', ...args);
      made.push(JSON.parse(out));
    }
    const [table, json] = [await keys(file, 'list'), await keys(file, 'list', '--json')];
    const [first, second] = made;
    assert.match(table.out, new RegExp(`^ID .*\n${first.id}  acme .*laptop\n${second.id} .*admin`));
    const listed = JSON.parse(json.out);
    assert.deepEqual(
      listed,
      made.map(({ key: _, file: __, ...shown }) => shown),
    );
    for (const { key, id } of made) {
      assert.ok(!(table.out + json.out).includes(key.slice(22)));
      const { sha256 } = readKeys(file).keys.find((entry) => entry.id === id)!;
      assert.ok(!(table.out + json.out).includes(sha256));
    }
  });

  test('an empty list is a heading, or an empty array', async () => {
    assert.match((await keys(newFile(), 'list')).out, /^ID .*\n$/);
    assert.equal((await keys(newFile(), 'list', '--json')).out, '[]\n');
  });

  test('revoke takes one key back and leaves the others', async () => {
    const file = newFile();
    const [one, two] = [
      (await keys(file, 'create', '--tenant', 'acme')).out.trim(),
      (await keys(file, 'create', '--tenant', 'acme')).out.trim(),
    ];
    const [, id] = one.split('_');
    assert.equal((await keys(file, 'revoke', id!)).out, `revoked ${id}\n`);
    assert.equal(find(file, one), undefined);
    assert.equal(find(file, two)?.id, 'acme');
    const again = await keys(file, 'revoke', id!);
    assert.equal(again.code, 2);
    assert.match(again.error, /has no key /);
  });

  for (const args of [
    ['create'],
    ['create', '--tenant', '../up'],
    ['create', '--tenant', 'shared'],
    ['create', '--tenant', 'Acme'],
    ['revoke'],
    ['forge'],
  ]) {
    test(`keys ${args.join(' ')} is a wrong command line: exit 2`, async () => {
      assert.equal((await keys(newFile(), ...args)).code, 2);
    });
  }

  test('a faulty file is left as it is', async () => {
    const file = newFile();
    writeFileSync(file, '{"version":1}');
    const { code, error } = await keys(file, 'create', '--tenant', 'acme');
    assert.equal(code, 1);
    assert.match(error, /keys file: tenants: /);
    assert.equal(readFileSync(file, 'utf8'), '{"version":1}');
  });

  test('the program itself does not open a server to a network without keys: exit 78', () => {
    const environment = { LORIKEET_HOME: scratchFolder() };
    const { stderr, status } = runMain(['serve', '--host', '0.0.0.0'], environment);
    assert.equal(status, 78);
    assert.match(stderr, /^lorikeet: --host: 0\.0\.0\.0 is reached from other machines, .*\n$/);
  });

  test('the program itself keeps them in the data folder, hashed with the pepper of the environment', () => {
    const home = scratchFolder();
    const environment = { LORIKEET_HOME: home, LORIKEET_KEY_PEPPER: 'salt' };
    const { stdout, status } = runMain(['keys', 'create', '--tenant', 'acme'], environment);
    assert.equal(status, 0);
    const file = readKeys(path.join(home, 'keys.json'));
    assert.equal(new KeyRing(file, createKeyDigest('salt')).find(stdout.trim())?.id, 'acme');
    assert.equal(new KeyRing(file, createKeyDigest(undefined)).find(stdout.trim()), undefined);
  });
});
