// Which adapters a tenant's patterns let it name, against a regular expression that says the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LOCAL_TENANT, mayUseAdapter } from '../../src/contracts/tenant.ts';

const isAllowed = (pattern: string, name: string) =>
  mayUseAdapter({ ...LOCAL_TENANT, allowedAdapters: [pattern] }, name);

test('without patterns every name is allowed, and with an empty list none', () => {
  assert.equal(mayUseAdapter(LOCAL_TENANT, 'zen'), true);
  assert.equal(mayUseAdapter({ ...LOCAL_TENANT, allowedAdapters: [] }, 'zen'), false);
});

test('a pattern is a whole name, with * for any run of characters', () => {
  const plain = (pattern: string) =>
    new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
  const of = (units: string[], maxLength: number) =>
    fc.string({ unit: fc.constantFrom(...units), maxLength });
  fc.assert(
    fc.property(of(['a', 'b', '.', '*'], 6), of(['a', 'b', '.'], 10), (pattern, name) => {
      assert.equal(isAllowed(pattern, name), plain(pattern).test(name));
    }),
    { numRuns: 2000 },
  );
});

test('many stars are no work', () => {
  assert.equal(isAllowed(`${'*a'.repeat(40)}*b`, 'a'.repeat(300)), false);
});
