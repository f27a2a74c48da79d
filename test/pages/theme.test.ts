// The choice of the theme follows other tabs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventGlobals, memoryStorage } from './browser-globals.ts';

const localStorage = memoryStorage();
const target = eventGlobals();
Object.assign(globalThis, { localStorage });
const { setTheme, theme } = await import('../../src/pages/shell/theme.ts');

test('a theme that is chosen here or in another tab is shown as chosen', () => {
  setTheme('dark');
  assert.equal(theme.value, 'dark');
  localStorage.setItem('lorikeet.theme', 'light');
  target.dispatchEvent(new Event('storage'));
  assert.equal(theme.value, 'light');
  setTheme('');
  assert.deepEqual([theme.value, localStorage.length], ['', 0]);
});
