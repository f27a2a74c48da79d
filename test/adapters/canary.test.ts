import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseVersion } from '../../adapters/registry/store-registry.ts';

const split = (...shares: [version: number, percent: number][]) => ({
  split: shares.map(([version, percent]) => ({ version, percent })),
});

const N = 10_000;
const users = Array.from({ length: N }, (_, i) => `user-${i}`);

test('a plain pointer is its version', () => {
  assert.equal(chooseVersion({ version: 7 }, 'acme/zen:stable', 'anybody'), 7);
});

test('shares hold within five standard deviations of a binomial', () => {
  const pointer = split([1, 89.5], [2, 10], [3, 0.5]);
  const chosen = users.map((user) => chooseVersion(pointer, 'acme/zen:stable', user));
  for (const { version, percent } of pointer.split) {
    const count = chosen.filter((one) => one === version).length;
    const p = percent / 100;
    const bound = 5 * Math.sqrt(N * p * (1 - p));
    assert.ok(Math.abs(count - N * p) <= bound, `version ${version}: ${count}`);
  }
});

test('a user stays where it is, and a growing canary only gains users', () => {
  const before = split([1, 90], [2, 10]);
  const after = split([1, 60], [2, 40]);
  const choose = (pointer: typeof before) => (user: string) =>
    chooseVersion(pointer, 'a/b:c', user);
  assert.deepEqual(users.map(choose(before)), users.map(choose(before)));
  for (const user of users) assert.ok(choose(after)(user) >= choose(before)(user));
});

test('two aliases are split independently', () => {
  const pointer = split([0, 50], [1, 50]);
  const both = users.filter(
    (user) => chooseVersion(pointer, 'a/b:c', user) + chooseVersion(pointer, 'a/b:d', user) === 2,
  );
  assert.ok(Math.abs(both.length - N / 4) <= 5 * Math.sqrt((N * 3) / 16), `${both.length}`);
});

test('shares that do not quite reach 100 leave nobody without a version', () => {
  const pointer = split([1, 1e-9], [2, 1e-9]);
  assert.ok(users.every((user) => chooseVersion(pointer, 'a/b:c', user) === 2));
});
