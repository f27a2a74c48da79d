// The table of settings in the documents is up to date.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { listSettings } from '../../src/settings/config.ts';

test('docs/configuration.md lists the settings of the program', () => {
  const text = readFileSync('docs/configuration.md', 'utf8');
  const table = /<!-- settings[^\n]*\n([\s\S]*?)<!-- end of settings -->/.exec(text)![1]!;
  const variables = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(
    variables,
    listSettings().map(({ env }) => env),
  );
  for (const { help } of listSettings()) assert.ok(table.includes(help.replaceAll('|', '\\|')));
});
