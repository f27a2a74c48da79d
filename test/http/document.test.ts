// The published document is complete and consistent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOk, serve } from './served.ts';

const { app } = serve();

interface Operation {
  summary?: string;
  tags?: string[];
  parameters?: { name: string; in: string }[];
  requestBody?: { content: Record<string, { schema: { $ref: string }; example?: object }> };
  responses: Record<string, { description: string }>;
}

interface Document {
  openapi: string;
  info: { title: string; version: string };
  tags: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { properties?: object; required?: string[] }> };
}

const document = await readOk<Document>(await app.request('/openapi.json'));

test('the document is OpenAPI 3.1 and names every route of the API', () => {
  assert.equal(document.openapi, '3.1.0');
  const isPage = (path: string) =>
    ['/', '/fine-tuning', '/adapters', '/status', '/docs', '/openapi.json'].includes(path) ||
    path.startsWith('/pages/');
  const served = app.routes
    .filter(({ method, path }) => method !== 'ALL' && !isPage(path))
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  assert.deepEqual(documented.sort(), [...new Set(served)].sort());
});

test('every operation has a summary, answers with descriptions, and its path parameters', () => {
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const operation of Object.values(operations)) {
      assert.ok(operation.summary, path);
      const responses = Object.values(operation.responses);
      assert.ok(responses.length > 0 && responses.every(({ description }) => description), path);
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const declared = (operation.parameters ?? []).filter((p) => p.in === 'path');
      assert.deepEqual(
        declared.map(({ name }) => name),
        inPath,
      );
    }
  }
});

test('every operation belongs to one declared group', () => {
  const declared = new Set(document.tags.map(({ name }) => name));
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const { tags } of Object.values(operations)) {
      assert.equal(tags?.length, 1, path);
      assert.ok(declared.has(tags![0]!), path);
    }
  }
});

test('the examples of generations are answered as they are', async () => {
  const paths = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings'];
  for (const path of paths) {
    const { example } = document.paths[path]!['post']!.requestBody!.content['application/json']!;
    const response = await app.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(example),
    });
    assert.equal(response.status, 200, path);
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
