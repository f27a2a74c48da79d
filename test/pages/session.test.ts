// A session ends in all tabs of its tenant, those that are not loaded included.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Me } from '../../src/contracts/management-api.ts';
import { apiKey, claimTab, endSession, hasSessionEnded, signOut } from '../../src/pages/key.ts';
import { memoryStorage } from './browser-globals.ts';

const me = (id: string) => ({ id, is_admin: false, needs_key: true }) as Me;

test('a sign-out ends the session of every tab of the tenant, and of no other tenant', async () => {
  const globals = {
    document: { baseURI: 'http://localhost/lorikeet/' },
    localStorage: memoryStorage(),
  };
  Object.assign(globalThis, globals, { dispatchEvent: () => true });
  const tabs = { first: memoryStorage(), second: memoryStorage(), other: memoryStorage() };
  const inTab = <T>(tab: keyof typeof tabs, act: () => T): T => {
    Object.assign(globalThis, { sessionStorage: tabs[tab] });
    return act();
  };
  for (const [tab, tenant] of [
    ['first', 'acme'],
    ['second', 'acme'],
    ['other', 'globex'],
  ] as const)
    await inTab(tab, () => claimTab(me(tenant), `key of ${tenant}`));
  assert.equal(inTab('second', apiKey), 'key of acme');

  inTab('first', endSession);
  await inTab('first', signOut);
  assert.equal(inTab('second', apiKey), undefined);
  assert.ok(inTab('second', hasSessionEnded));
  assert.equal(inTab('other', apiKey), 'key of globex');

  await inTab('first', () => claimTab(me('acme'), 'a new key'));
  assert.equal(inTab('first', apiKey), 'a new key');
  assert.equal(inTab('second', apiKey), undefined);
});
