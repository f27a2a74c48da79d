// The API docs' words for schemas.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { objectsOf, type Schema, type Schemas, typeText } from '../../src/pages/api-schema.js';
import { readOk, serve } from '../http/served.ts';

test('types and bounds are put into words', () => {
  const words: [Schema, string][] = [
    [{ type: ['integer', 'null'], minimum: 1, maximum: 8 }, 'integer or null, 1 to 8'],
    [{ type: 'number', exclusiveMinimum: 0 }, 'number, more than 0'],
    [{ type: 'array', items: { $ref: '#/components/schemas/Model' } }, 'list of Model'],
    [{ anyOf: [{ type: 'string' }, { const: 'auto' }, { type: 'string' }] }, 'string or "auto"'],
    [{ enum: ['left', null] }, '"left" or null'],
    [{ type: 'string', maxLength: 4 }, 'string, at most 4 characters'],
    [{}, 'any'],
  ];
  for (const [schema, text] of words) assert.equal(typeText(schema), text);
});

test('objects are found in references, lists and alternatives', () => {
  const schemas: Schemas = {
    Part: { properties: { text: { type: 'string' } }, required: ['text'] },
    Content: { anyOf: [{ type: 'string' }, { items: { $ref: '#/components/schemas/Part' } }] },
  };
  assert.deepEqual(objectsOf({ $ref: '#/components/schemas/Content' }, schemas), [
    [{ name: 'text', schema: { type: 'string' }, isRequired: true }],
  ]);
  assert.deepEqual(objectsOf({ type: 'string' }, schemas), []);
});

test('every schema of the document can be shown', async () => {
  const { app } = serve();
  const { components } = await readOk<{ components: { schemas: Schemas } }>(
    await app.request('/openapi.json'),
  );
  for (const [name, schema] of Object.entries(components.schemas)) {
    assert.doesNotMatch(typeText(schema), /undefined|\[object/, name);
    for (const fields of objectsOf(schema, components.schemas)) assert.ok(fields.length > 0, name);
  }
});
