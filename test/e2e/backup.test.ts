// Backup and restore as docs/backup.md tells it, on a folder store: a copy that is taken in two passes while versions
// are published is whole, and what was lost is served again from it.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { postJson } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { serveFor, succeed } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

test('a store that is lost comes back from its copy, and so does a version that was removed', async (t) => {
  const folder = temporaryFolder(t);
  const [store, backup] = [path.join(folder, 'store'), path.join(folder, 'backup')];
  mkdirSync(store);
  const adapters = (at: string, ...args: string[]) =>
    succeed(['adapters', ...args, '--store', at], folder);
  const push = (seed: number) => {
    const directory = writeToyAdapter(path.join(folder, `adapter-${seed}`), seed);
    return adapters(store, 'push', directory, '--name', 'zen', '--alias', 'stable');
  };
  const copy = (from: string, to: string) => cpSync(from, to, { recursive: true });

  await push(1);
  const publishing = push(2);
  copy(store, backup);
  await publishing;
  copy(store, backup);
  await adapters(backup, 'verify', 'zen');
  assert.match(await adapters(backup, 'ls', 'zen'), /2/);

  // Removed by mistake: the manifest is in the backup, the files are still there.
  await adapters(store, 'rm', 'zen:stable', '--yes');
  await adapters(store, 'alias', 'zen', 'latest', '1');
  await adapters(store, 'rm', 'zen@2', '--yes');
  const manifest = 'local/zen/2/manifest.json';
  cpSync(path.join(backup, manifest), path.join(store, manifest));
  await adapters(store, 'verify', 'zen@2');
  await adapters(store, 'alias', 'zen', 'stable', '2');

  rmSync(store, { recursive: true });
  mkdirSync(store);
  copy(backup, store);
  const args = ['--model', 'models/toy', '--slots', '2', '--store', store];
  const serving = await serveFor(t, args, folder);
  const response = await postJson(`${serving.url}/v1/completions`, {
    model: 'zen:stable',
    prompt: 'Once',
    max_tokens: 2,
  });
  assert.equal(response.status, 200, await response.text());
  assert.equal(response.headers.get('x-lorikeet-version'), 'zen@2');
});
