// The text about an adapter in a local folder, from the about.json in it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { readAbout } from '../../src/contracts/adapter-about.ts';
import type { Model, ModelList } from '../../src/contracts/openai.ts';
import { adapterFolder } from './adapter-folder.ts';
import { readOk, serve } from './served.ts';

const { write, registry } = adapterFolder();
const about = { description: 'Rhymes.', tags: ['style'], examples: ['Hi?'] };
write('described', { 'about.json': about });
write('faulty', { 'about.json': { description: 'two\nlines' } });
write('plain');
const { app } = serve({ registry });

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
