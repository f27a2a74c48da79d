import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { blockKey, type PrefixRoot, rootKey } from '../../../src/engine/prefix/prefix-cache.ts';

const ROOT: PrefixRoot = {
  served: 'base int8',
  adapter: [
    { digest: 'aa', weight: 1 },
    { digest: 'bb', weight: 0.5 },
  ],
  scope: 'tenant',
};

type CreateKey = (root: PrefixRoot) => string;

/** Roots whose sequences must share nothing with those of `ROOT`, nor with each other. */
const OTHERS: Readonly<Record<string, PrefixRoot>> = {
  base: { ...ROOT, served: 'other int8' },
  form: { ...ROOT, served: 'base f32' },
  scope: { ...ROOT, scope: 'other' },
  'adapter digest': {
    ...ROOT,
    adapter: [
      { digest: 'cc', weight: 1 },
      { digest: 'bb', weight: 0.5 },
    ],
  },
  'composition weight': {
    ...ROOT,
    adapter: [
      { digest: 'aa', weight: 1 },
      { digest: 'bb', weight: 0.25 },
    ],
  },
  'number of parts': { ...ROOT, adapter: [{ digest: 'aa', weight: 1 }] },
  'no adapter': { ...ROOT, adapter: [] },
  'field boundaries': { ...ROOT, scope: `${ROOT.scope}aa1`, adapter: [] },
};

function checkKeysDiffer(create: CreateKey): void {
  const keys = [ROOT, ...Object.values(OTHERS)].map(create);
  assert.equal(new Set(keys).size, keys.length, 'two roots have the same key');
}

test('T04, I23: a root key covers base, form, adapter contents, weights of a composition and scope', () => {
  checkKeysDiffer(rootKey);
  assert.equal(
    rootKey(ROOT),
    rootKey({ ...ROOT, adapter: ROOT.adapter.map((part) => ({ ...part })) }),
  );
});

const PLANTED_BUGS: Readonly<Record<string, CreateKey>> = {
  'without the adapter digest': ({ adapter, ...root }) =>
    rootKey({ ...root, adapter: adapter.map(({ weight }) => ({ digest: '', weight })) }),
  'without the weights of a composition': ({ adapter, ...root }) =>
    rootKey({ ...root, adapter: adapter.map(({ digest }) => ({ digest, weight: 1 })) }),
  'without the scope': (root) => rootKey({ ...root, scope: '' }),
  'without the base and its form': (root) => rootKey({ ...root, served: '' }),
  'without lengths': ({ served, scope, adapter }) =>
    [served, scope, ...adapter.flatMap(({ digest, weight }) => [digest, weight])].join(''),
};

for (const [bug, create] of Object.entries(PLANTED_BUGS)) {
  test(`a root key ${bug} is noticed`, () => {
    assert.throws(() => checkKeysDiffer(create), /two roots have the same key/);
  });
}

test('I23: a block key covers the tokens of the block, in order, and all before them', () => {
  const tokens = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2, maxLength: 2 });
  const chain = fc.array(tokens, { minLength: 1, maxLength: 3 });
  const keyOf = (blocks: readonly number[][]) => blocks.reduce(blockKey, 'root');
  fc.assert(
    fc.property(chain, chain, (one, other) => {
      const isEqual = JSON.stringify(one) === JSON.stringify(other);
      assert.equal(keyOf(one) === keyOf(other), isEqual);
    }),
    { seed: 20261126, numRuns: 500 },
  );
  assert.notEqual(blockKey('root', [1, 256]), blockKey('root', [256, 1]));
});
