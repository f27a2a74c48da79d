// Keys: their form, what is kept of them, and who is found by them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { createApiKey, createKeyDigest, keyIdOf } from '../../src/tenants/api-key.ts';
import { KeyRing } from '../../src/tenants/key-ring.ts';
import { keysFileOf, makeKey } from './keys.ts';

test('a key has a readable prefix, its id and 256 random bits', () => {
  const { id, text } = createApiKey();
  const secret = text.slice(`lorikeet_${id}_`.length);
  assert.ok(text.startsWith(`lorikeet_${id}_`));
  assert.equal(Buffer.from(secret, 'base64url').length, 32);
  assert.equal(keyIdOf(text), id);
  assert.notEqual(createApiKey().text, text);
});

test('a key may begin with what a client demands', () => {
  const { id, text } = createApiKey('tml-');
  assert.ok(text.startsWith(`tml-lorikeet_${id}_`));
  assert.equal(keyIdOf(text), id);
  assert.equal(keyIdOf(`tml_${text}`), undefined);
});

test('T36: what is kept is the SHA-256, which another pepper changes', () => {
  const { text } = createApiKey();
  const plain = createKeyDigest(undefined)(text);
  assert.equal(plain.toString('hex'), createHash('sha256').update(text).digest('hex'));
  assert.notDeepEqual(createKeyDigest('salt')(text), plain);
  assert.notDeepEqual(createKeyDigest('salt')(text), createKeyDigest('pepper')(text));
});

test('a key finds its tenant with what the file says of it', () => {
  const own = makeKey('acme', true);
  const limits = { requestsPerMinute: 5 };
  const settings = { defaultModel: 'zen', allowedAdapters: ['z*'], weight: 2, limits };
  const ring = new KeyRing(keysFileOf([own], { acme: settings }), createKeyDigest(undefined));
  assert.deepEqual(ring.find(own.text), { id: 'acme', isAdmin: true, ...settings });
});

const own = makeKey('acme');
const other = makeKey('acme');
const swapCase = (text: string) =>
  text.replace(/[a-z]/gi, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()));
const [head, secret] = [own.text.slice(0, 22), own.text.slice(22)];
const changed = own.text.endsWith('A') ? 'B' : 'A';

const WRONG_KEYS: Record<string, string> = {
  nothing: '',
  'a key of another form': 'sk-abcdefghijklmnopqrstuvwxyz',
  'a key of no known id': makeKey('acme').text,
  'an id alone': head,
  'another secret under a known id': head + other.text.slice(22),
  'a secret in other case': head + swapCase(secret),
  'a whole key in other case': own.text.toUpperCase(),
  'a last character that is another': own.text.slice(0, -1) + changed,
  'a longer key': `${own.text}A`,
  'a shorter key': own.text.slice(0, -1),
  'a key with a line break': `${own.text}\n`,
  'the hash instead of the key': own.entry.sha256,
  '1 MiB': 'x'.repeat(2 ** 20),
  'a homoglyph': own.text.replace('lorikeet', 'lоrikeet'),
};

for (const [what, key] of Object.entries(WRONG_KEYS)) {
  test(`${what} finds nobody`, () => {
    const ring = new KeyRing(keysFileOf([own, other]), createKeyDigest(undefined));
    assert.equal(ring.find(own.text)?.id, 'acme');
    assert.equal(ring.find(key), undefined);
  });
}

test('T36: an unknown id costs the same work as a wrong secret: one digest, one comparison', () => {
  const digests: string[] = [];
  const plain = createKeyDigest(undefined);
  const ring = new KeyRing(keysFileOf([own]), (text) => {
    digests.push(text);
    return plain(text);
  });
  const wrong = [makeKey('acme').text, head + other.text.slice(22)];
  for (const key of wrong) assert.equal(ring.find(key), undefined);
  assert.deepEqual(digests, wrong);
});
