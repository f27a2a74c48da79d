// The published document is complete and consistent.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from '@hono/zod-openapi';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ErrorEnvelope } from '../../src/contracts/openai.ts';
import { pluck } from '../pluck.ts';
import { documentedApp, operationsOf, schemasIn } from './documented-routes.ts';
import { serve } from './served.ts';

const { app: fullApp, document } = await documentedApp();
const { app, post } = serve();
const operations = operationsOf(document);

test('the document is OpenAPI 3.1 and names every route of the API', () => {
  assert.equal(document.openapi, '3.1.0');
  const isPage = (path: string) =>
    ['/', '/fine-tuning', '/adapters', '/status', '/usage', '/docs', '/openapi.json'].includes(
      path,
    ) || path.startsWith('/pages/');
  const served = fullApp.routes
    .filter(({ method, path }) => method !== 'ALL' && !isPage(path))
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  assert.deepEqual(documented.sort(), [...new Set(served)].sort());
});

test('a missing part of the API is named, with a route that exists in its place', async () => {
  const parts = ['moderations', 'vector_stores/vs_1', 'uploads', 'evals', 'assistants', 'images'];
  for (const part of parts) {
    const response = await app.request(`/v1/${part}`, { method: 'POST' });
    const { error } = (await response.json()) as ErrorEnvelope;
    assert.deepEqual([response.status, error.code], [404, 'not_found']);
    const [named, ...others] = error.message.match(/\/[\w/]+/g) ?? [];
    assert.equal(named, `/v1/${part.split('/')[0]}`);
    for (const path of others) assert.ok(path in document.paths, `${part}: ${path}`);
  }
  const stored = await app.request('/v1/chat/completions/chatcmpl-1');
  assert.match(await stored.text(), /Stored chats .*\/v1\/responses/);
  const list = await app.request('/v1/chat/completions');
  assert.match(await list.text(), /only allows POST\. Stored chats/);
  const unknown = await app.request('/v1/constructor');
  assert.match(await unknown.text(), /Unknown route/);
});

test('every operation has a name of its own, a summary, and its path parameters', () => {
  const ids = operations.map(({ operationId }) => operationId);
  assert.equal(new Set(ids).size, ids.length);
  for (const { name, operationId, summary, parameters = [] } of operations) {
    assert.match(operationId, /^[a-z][A-Za-z0-9]*$/, name);
    assert.ok(summary, name);
    const inPath = [...name.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter);
    const declared = parameters.filter((parameter) => parameter.in === 'path');
    assert.deepEqual(pluck(declared, 'name'), inPath);
  }
});

test('names of operations follow from method and path, so that generated clients keep them', () => {
  const idOf = Object.fromEntries(operations.map(({ name, operationId }) => [name, operationId]));
  assert.equal(idOf['POST /v1/chat/completions'], 'postV1ChatCompletions');
  assert.equal(idOf['GET /v1/models/{id}'], 'getV1ModelsById');
  assert.equal(idOf['POST /v1/load_lora_adapter'], 'postV1LoadLoraAdapter');
});

/** Routes that are answered without a key. */
const OPEN = ['GET /health', 'GET /livez', 'GET /readyz'];

test('every operation says which keys it takes, and whether it needs one', async () => {
  const schemes = Object.keys(document.components.securitySchemes);
  assert.deepEqual(schemes, ['bearer', 'apiKey']);
  const keys = schemes.map((scheme) => ({ [scheme]: [] }));
  for (const { name, security } of operations) {
    assert.deepEqual(security, OPEN.includes(name) ? [{}, ...keys] : keys, name);
  }
  const withoutKeys = (await (await app.request('/openapi.json')).json()) as typeof document;
  for (const { name, security } of operationsOf(withoutKeys)) {
    assert.deepEqual(security, [{}, ...keys], name);
  }
});

test('every operation lists its answers, the errors of requests among them', () => {
  for (const { name, responses, security, requestBody } of operations) {
    assert.ok(
      Object.values(responses).every(({ description }) => description),
      name,
    );
    const needsKey = security.length === 2;
    const expected = [200, 400, 431, 500, 503, ...(needsKey ? [401, 429] : [])];
    if (name.includes('{')) expected.push(404);
    if (!name.startsWith('GET')) expected.push(403);
    if (requestBody) expected.push(408, 413, 415, 422, 504, 507);
    for (const status of expected) assert.ok(responses[status], `${name}: ${status}`);
  }
});

const schemas = operations.flatMap(({ name, parameters = [], requestBody, responses }) => {
  const contents = [requestBody, ...Object.values(responses)].flatMap((part) =>
    Object.values(part?.content ?? {}),
  );
  return [...parameters, ...contents].flatMap(({ schema }) => schemasIn(document, schema, name));
});
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
ajv.addSchema({ $id: 'document', components: document.components });
/** Compiles a schema with the references of the document. */
const compile = (schema: object) =>
  ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"document#/')));

test('every default matches its schema', () => {
  const withDefaults = schemas.filter(({ schema }) => 'default' in schema);
  assert.ok(withDefaults.length > 10);
  for (const { path, schema } of withDefaults) {
    const validate = compile(schema);
    assert.ok(validate(schema['default']), `${path}: ${ajv.errorsText(validate.errors)}`);
  }
});

test('every pattern is an expression of ECMA-262 that other languages can read as well', () => {
  for (const { path, schema } of schemas) {
    const { pattern, example } = schema;
    if (pattern === undefined) continue;
    const expression = new RegExp(pattern as string, 'u');
    assert.doesNotMatch(expression.source, /\/[a-z]*$|\\[pP]\{/, path);
    if (typeof example === 'string') assert.match(example, expression, path);
  }
});

test('every example of a body matches its schema', () => {
  const contents = operations.flatMap(({ name, requestBody }) =>
    Object.values(requestBody?.content ?? {}).map((content) => ({ name, ...content })),
  );
  const given = contents.filter(({ example }) => example !== undefined);
  assert.ok(given.length > 10);
  for (const { name, schema, example } of given) {
    const validate = compile(schema);
    assert.ok(validate(example), `${name}: ${ajv.errorsText(validate.errors)}`);
  }
});

test('every operation belongs to one declared group', () => {
  const declared = new Set(document.tags.map(({ name }) => name));
  for (const { name, tags } of operations) {
    assert.equal(tags.length, 1, name);
    assert.ok(declared.has(tags[0]!), name);
  }
});

test('the examples of generations are answered as they are', async () => {
  const paths = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings'];
  for (const path of paths) {
    const { example } = document.paths[path]!['post']!.requestBody!.content!['application/json']!;
    assert.equal((await post(path, example)).status, 200, path);
  }
});

test('every reference resolves', () => {
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref!);
  assert.ok(refs.length > 10);
  for (const ref of refs) {
    const name = /^#\/components\/schemas\/(\w+)$/.exec(ref)?.[1];
    assert.ok(name && document.components.schemas[name], ref);
  }
});

test('requests name what is required and every field of the contract', () => {
  const { ChatCompletionRequest: chat, CompletionRequest: completion } =
    document.components.schemas;
  assert.deepEqual(chat!.required, ['model', 'messages']);
  assert.deepEqual(completion!.required, ['model', 'prompt']);
  for (const field of [
    'temperature',
    'logit_bias',
    'stop',
    'seed',
    'stream_options',
    'ignore_eos',
  ]) {
    assert.ok(field in chat!.properties! && field in completion!.properties!, field);
  }
});

test('every response has secure headers, an id, and no permission for other origins', async () => {
  const headers = { origin: 'https://evil.example', 'x-request-id': 'mine-1' };
  for (const path of ['/livez', '/v1/models', '/nothing']) {
    const response = await app.request(path, { headers });
    assert.equal(response.headers.get('x-request-id'), 'mine-1');
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  }
  const dotted = await app.request('/livez', { headers: { 'x-request-id': 'trace:1.2' } });
  assert.equal(dotted.headers.get('x-request-id'), 'trace:1.2');
  const odd = await app.request('/livez', { headers: { 'x-request-id': 'a b"<' } });
  assert.match(odd.headers.get('x-request-id')!, /^req_/);
});

test('a field that may be null is documented so', () => {
  const wrong: string[] = [];
  for (const definition of fullApp.openAPIRegistry.definitions) {
    if (definition.type !== 'route') continue;
    const { method, path, request } = definition.route;
    const json = request?.body?.content['application/json'] as { schema: z.ZodType } | undefined;
    let schema = json?.schema;
    while (schema instanceof z.ZodPipe) schema = schema.in as z.ZodType;
    if (!(schema instanceof z.ZodObject)) continue;
    const { requestBody } = document.paths[path]![method]!;
    const documented = requestBody!.content!['application/json']!.schema;
    const validate = compile(documented);
    for (const [field, part] of Object.entries(schema.shape as Record<string, z.ZodType>)) {
      if (!part.safeParse(null).success) continue;
      validate({ [field]: null });
      const isRefused = validate.errors?.some(({ instancePath }) => instancePath === `/${field}`);
      if (isRefused) wrong.push(`${path} ${field}`);
    }
  }
  assert.deepEqual(wrong, []);
});
