// The text about an adapter in a local folder, from the about.json in it.
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { FolderAdapters } from '../../adapters/registry/folder-registry.ts';
import { Registry } from '../../adapters/registry/registry.ts';
import { readAbout } from '../../src/contracts/adapter-about.ts';
import type { Model, ModelList } from '../../src/contracts/openai.ts';
import { sampleFolder } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { readOk, serve } from './served.ts';

const root = temporaryFolder();
for (const [name, about] of Object.entries({
  described: { description: 'Rhymes.', tags: ['style'], examples: ['Hi?'] },
  faulty: { description: 'two\nlines' },
  plain: undefined,
})) {
  const folder = path.join(root, name);
  cpSync(sampleFolder({ name }), folder, { recursive: true });
  if (about) writeFileSync(path.join(folder, 'about.json'), JSON.stringify(about));
}
const { app } = serve({
  registry: new Registry({
    base: { id: 'toy', names: [], digest: 'b'.repeat(64) },
    local: [new FolderAdapters(root, { baseNames: ['toy'] })],
  }),
});

test('lists show the description, and a single model its example prompts', async () => {
  const { data } = await readOk<ModelList>(await app.request('/v1/models'));
  const described = data.find(({ id }) => id === 'described');
  assert.deepEqual([described?.description, described?.tags], ['Rhymes.', ['style']]);
  assert.equal(data.find(({ id }) => id === 'plain')?.description, undefined);
  const model = await readOk<Model>(await app.request('/v1/models/described'));
  assert.deepEqual([model.kind, model.examples], ['chat', ['Hi?']]);
});

test('an invalid file is named, and the adapter can be used', async () => {
  const { description } = await readOk<Model>(await app.request('/v1/models/faulty'));
  assert.match(description ?? '', /about\.json.*description.*must be one line/);
});

test('every demo adapter says what it does', async () => {
  for (const name of ['intent', 'wordnet', 'zen']) {
    const about = await readAbout(path.join('models/demo', name));
    assert.ok(about?.description && about.examples.length === 3, name);
  }
});
