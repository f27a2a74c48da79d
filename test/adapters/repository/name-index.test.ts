// The index of a tenant's names: changes of lines against a map of all names, and what damage does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type IndexEntry, NameIndex } from '../../../adapters/repository/name-index.ts';

const entryOf = (version: number): IndexEntry => ({
  aliases: { latest: { version } },
  previous: {},
  versions: [
    {
      version,
      digest: 'd'.repeat(64),
      files: {
        'adapter_config.json': { sha256: 'e'.repeat(64), byteSize: 1 },
        'adapter_model.safetensors': { sha256: 'f'.repeat(64), byteSize: 2 },
      },
      created_at: 1,
      rank: 8,
      targets: ['q_proj'],
    },
  ],
});

const contentOf = (index: NameIndex) =>
  [...index.namesFrom('')].map((name) => [name, index.find(name)]);

test('any changes give what a map of all names gives, also after the index was stored', () => {
  const name = fc.stringMatching(/^[A-Za-z0-9_][a-c.-]{0,3}$/);
  const changes = fc.array(fc.tuple(name, fc.option(fc.nat(9), { nil: undefined })));
  const property = fc.property(fc.array(changes, { maxLength: 6 }), name, (rounds, from) => {
    const plain = new Map<string, IndexEntry>();
    let index = new NameIndex('acme');
    for (const round of rounds) {
      for (const [one, version] of round) {
        const entry = version === undefined ? undefined : entryOf(version + 1);
        index.set(one, entry);
        if (entry) plain.set(one, entry);
        else plain.delete(one);
        assert.deepEqual(index.find(one), entry);
      }
      const sorted = [...plain].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(contentOf(index), sorted);
      const { byteSize } = index;
      index = NameIndex.parse('acme', index.serialize())!;
      assert.deepEqual(contentOf(index), sorted);
      assert.deepEqual([index.size, index.byteSize], [plain.size, byteSize]);
      const following = sorted.flatMap(([one]) => (one >= from ? [one] : []));
      assert.deepEqual([...index.namesFrom(from)], following);
    }
  });
  fc.assert(property);
});

test('a name without an entry is listed, and a list that has begun does not change', () => {
  const index = new NameIndex('acme');
  index.set('b', entryOf(1));
  const names = index.namesFrom('');
  assert.equal(names.next().value, 'b');
  index.add('a');
  index.add('b');
  index.add('c');
  assert.deepEqual([...names], []);
  assert.deepEqual(
    contentOf(index).map(([name, entry]) => [name, entry !== undefined]),
    [
      ['a', false],
      ['b', true],
      ['c', false],
    ],
  );
});

test('a cut, foreign or overwritten index is none, and a damaged line is no entry', () => {
  const index = new NameIndex('acme');
  index.set('a', entryOf(1));
  index.set('b', entryOf(2));
  const bytes = Buffer.from(index.serialize());
  assert.equal(NameIndex.parse('other', bytes), undefined);
  for (const end of [0, 1, 40, bytes.length - 1]) {
    assert.equal(NameIndex.parse('acme', bytes.subarray(0, end)), undefined, `${end}`);
  }
  assert.equal(NameIndex.parse('acme', Buffer.from('<html>')), undefined);
  const flipped = Buffer.from(bytes.toString().replace('"rank":8', '"rank":x'));
  const damaged = NameIndex.parse('acme', flipped)!;
  assert.equal(damaged.find('a'), undefined);
  assert.deepEqual(damaged.find('b'), entryOf(2));
});
