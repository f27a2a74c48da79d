// The API docs: types in words, the order of fields, and the search.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ApiDocument,
  COMMON_FIELDS,
  groupsOf,
  needsKey,
  objectsOf,
  pathOf,
  type Schema,
  type Schemas,
  sortFields,
  typeText,
} from '../../src/pages/docs/document.ts';
import { searchGroups } from '../../src/pages/docs/search.ts';
import { serveKeyed } from './keyed.ts';
import { readOk, serve } from './served.ts';

const read = async (app: ReturnType<typeof serve>['app']) =>
  readOk<ApiDocument>(await app.request('/openapi.json'));
const document = await read(serve().app);
const { schemas } = document.components;
const groups = groupsOf(document);

test('types and bounds are put into words', () => {
  const words: [Schema, string][] = [
    [{ type: ['integer', 'null'], minimum: 1, maximum: 8 }, 'integer or null, 1 to 8'],
    [{ type: 'number', exclusiveMinimum: 0 }, 'number, more than 0'],
    [{ type: 'number', maximum: 2 }, 'number, at most 2'],
    [{ type: 'array', items: { $ref: '#/components/schemas/Model' } }, 'list of Model'],
    [{ type: ['array', 'null'], items: {} }, 'list or null'],
    [{ anyOf: [{ type: 'string' }, { const: 'auto' }, { type: 'string' }] }, 'string or "auto"'],
    [{ enum: ['left', null] }, '"left" or null'],
    [{ type: 'string', maxLength: 4 }, 'string, at most 4 characters'],
    [{}, ''],
  ];
  for (const [schema, text] of words) assert.equal(typeText(schema), text);
});

test('objects are found in references, lists and alternatives', () => {
  const some: Schemas = {
    Part: { properties: { text: { type: 'string' } }, required: ['text'] },
    Content: { anyOf: [{ type: 'string' }, { items: { $ref: '#/components/schemas/Part' } }] },
  };
  assert.deepEqual(objectsOf({ $ref: '#/components/schemas/Content' }, some), [
    [{ name: 'text', schema: { type: 'string' }, isRequired: true }],
  ]);
  assert.deepEqual(objectsOf({ type: 'string' }, some), []);
});

test('every schema of the document can be shown, and no type is "any"', () => {
  for (const [name, schema] of Object.entries(schemas)) {
    assert.doesNotMatch(typeText(schema), /undefined|\[object|\bany\b/, name);
    for (const fields of objectsOf(schema, schemas)) assert.ok(fields.length > 0, name);
  }
});

test('chat comes first, and its common fields before rare ones and those without a type', () => {
  const [chat] = groups[0]!.operations;
  assert.equal(chat?.path, '/v1/chat/completions');
  const [fields = []] = objectsOf({ $ref: '#/components/schemas/ChatCompletionRequest' }, schemas);
  const { common, rare, foreign } = sortFields(fields);
  const first = common.slice(0, 4).map(({ name }) => name);
  assert.deepEqual(first, ['model', 'messages', 'max_tokens', 'max_completion_tokens']);
  assert.equal(common.length + rare.length + foreign.length, fields.length);
  assert.ok(rare.some(({ name }) => name === 'cache_salt'));
  assert.ok(foreign.every(({ schema }) => typeText(schema) === '') && foreign.length > 20);
});

test('every field that counts as common is one of the API', async () => {
  const all = JSON.stringify(document);
  const ofJobs = /^(training_file|validation_file|suffix|method|hyperparameters)$/;
  const own = COMMON_FIELDS.filter((name) => !ofJobs.test(name));
  for (const name of own) assert.ok(all.includes(`"${name}":{`), name);
});

test('the document says whether the server needs a key', async () => {
  assert.equal(needsKey(document), false);
  const { app } = serveKeyed({ tenants: { acme: {} } });
  assert.equal((await app.request('/openapi.json')).status, 401);
  const free = document.paths['/v1/chat/completions']!['post']!;
  const paths = { '/v1/chat/completions': { post: { ...free, security: [{ bearer: [] }] } } };
  assert.equal(needsKey({ ...document, paths }), true);
});

/** The paths of the operations that a search finds, with the fields that it finds in them. */
function search(query: string): Record<string, string[]> {
  const found = searchGroups(groups, schemas, query).flatMap(({ operations }) => operations);
  return Object.fromEntries(
    found.map(({ operation: { method, path }, fields }) => [
      `${method} ${path}`,
      fields.map((field) => field.path),
    ]),
  );
}

test('a search finds fields by name and by what they do, and says which', () => {
  const found = search('logprobs');
  assert.deepEqual(found['POST /v1/chat/completions']!.slice(0, 2), ['logprobs', 'top_logprobs']);
  assert.ok(found['POST /v1/chat/completions']!.includes('choices.logprobs.content'));
  assert.ok(!('POST /tokenize' in found));
  assert.ok(search('random numbers sampling')['POST /v1/completions']!.includes('seed'));
  assert.deepEqual(search('chat top_p')['POST /v1/chat/completions'], ['top_p']);
});

test('a search finds operations by method, path and summary, and none if no word fits', () => {
  assert.deepEqual(search('delete model'), { 'DELETE /v1/models/{id}': [] });
  assert.equal(Object.keys(search('')).length, groups.flatMap((one) => one.operations).length);
  assert.deepEqual(search('nonesuch'), {});
});

test('a path gets its values and its query', () => {
  const fields = [
    { name: 'id', in: 'path' },
    { name: 'limit', in: 'query' },
    { name: 'after', in: 'query' },
  ] as const;
  const path = (values: Record<string, string>) => pathOf('/v1/models/{id}', fields, values);
  assert.equal(path({ id: 'a b/$&', limit: '2', after: '' }), '/v1/models/a%20b%2F%24%26?limit=2');
  assert.equal(path({ id: '', limit: '', after: 'x' }), '/v1/models/{id}?after=x');
});
