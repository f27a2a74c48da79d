// B01-B09: what is wrong before any field is looked at.
import { type Case, CHAT, COMPLETIONS } from './case.ts';

const good = '{"model":"base","prompt":"a","max_tokens":1}';
const json = { 'content-type': 'application/json' };
const bytes = (...parts: (string | number[])[]) =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))),
  );
const inPrompt = (...middle: (string | number[])[]) =>
  bytes('{"model":"base","max_tokens":1,"prompt":"', ...middle, '"}');
/** A good body with one member more in front. */
const within = (member: string) => `{${member},${good.slice(1)}`;
const manyKeys = Array.from({ length: 1e5 }, (_, i) => `"${i.toString(36)}":0`).join(',');
const manyObjects = Array(1e5).fill('{}').join(',');
const prototypes = '"__proto__":{"n":99},"constructor":{"prototype":{"n":99}}';
const innerModels = '"metadata":{"model":"a","x":{"model":1}}';

type Expect = Case['expect'];

/** Name, and what is sent as it is. */
const BODIES: readonly [name: string, raw: string | Uint8Array, ...expect: Expect][] = [
  ['B01: empty body', '', 400, 'invalid_json', null],
  ['B01: truncated', good.slice(0, -1), 400, 'invalid_json'],
  ['B01: trailing comma', '{"model":"base",}', 400, 'invalid_json'],
  ['B01: BOM', `\ufeff${good}`, 400, 'invalid_json'],
  ['B01: two values', good + good, 400, 'invalid_json'],
  ['B02: array', `["a","a",${good}]`, 400, 'invalid_request', null],
  ['B02: string', '"x"', 400, 'invalid_request', null],
  ['B02: number', '1', 400, 'invalid_request', null],
  ['B02: null', 'null', 400, 'invalid_request', null],
  ['B03: depth 100k', '['.repeat(1e5), 400, 'invalid_json'],
  ['B03: depth 65', `{"a":${'['.repeat(64)}`, 400, 'invalid_json'],
  ['B03: 1e5 keys', `{${manyKeys}}`, 400, 'invalid_request'],
  [
    'B03: 1e5 keys in a field',
    within(`"metadata":{${manyKeys}}`),
    400,
    'invalid_request',
    'metadata',
  ],
  ['B03: 1e5 objects', `{"messages":[${manyObjects}]}`, 400, 'invalid_request', 'messages'],
  ['B03: over 1 MiB', 'x'.repeat(2 ** 20 + 1), 413, 'payload_too_large'],
  ['B04: stray byte', inPrompt([0xff]), 400, 'invalid_utf8'],
  ['B04: overlong', inPrompt([0xc0, 0xaf]), 400, 'invalid_utf8'],
  ['B04: surrogate bytes', inPrompt([0xed, 0xa0, 0x80]), 400, 'invalid_utf8'],
  ['B04: lone high escape', inPrompt('\\ud83d'), 400, 'invalid_utf8'],
  ['B04: lone low escape', inPrompt('\\uDE00x'), 400, 'invalid_utf8'],
  ['B04: swapped pair', inPrompt('\\ude00\\ud83d'), 400, 'invalid_utf8'],
  ['B04: a pair is fine', inPrompt('\\ud83d\\ude00'), 200],
  ['B04: an escaped backslash before ud83d is fine', inPrompt('\\\\ud83d'), 200],
  ['B05: __proto__ and constructor change nothing', within(prototypes), 400, 'unknown_parameter'],
  ['B05: duplicate model', within('"model":"other"'), 400, 'invalid_json', 'model'],
  ['B05: duplicate model, escaped', within('"mod\\u0065l":"other"'), 400, 'invalid_json', 'model'],
  ['B05: the same key in inner objects is fine', within(innerModels), 200],
];

/** Name, and the headers of a good request. */
const HEADERS: readonly [name: string, headers: Record<string, string>, ...expect: Expect][] = [
  ['B06: no content type', {}, 415, 'unsupported_media_type'],
  ['B06: xml', { 'content-type': 'text/xml' }, 415],
  ['B06: form', { 'content-type': 'multipart/form-data' }, 415],
  ['B06: other charset', { 'content-type': 'application/json; charset=utf-16' }, 415],
  ['B06: utf-8 is fine', { 'content-type': 'Application/JSON; charset="UTF-8"' }, 200],
  ['B07: gzip', { ...json, 'content-encoding': 'gzip' }, 415],
  ['B07: identity', { ...json, 'content-encoding': 'identity' }, 415],
  ['B07: unknown', { ...json, 'content-encoding': 'x' }, 415],
  ['B09: other host', { ...json, host: 'evil.example' }, 400, 'invalid_request'],
  ['B09: host with a suffix', { ...json, host: 'localhost.evil' }, 400],
  ['B09: host with userinfo', { ...json, host: 'x@localhost' }, 400],
  ['B09: IPv6 loopback is fine', { ...json, host: '[::1]:8080' }, 200],
];

const ROUTES: readonly [name: string, method: string, path: string, ...expect: Expect][] = [
  ['B08: wrong method', 'GET', COMPLETIONS, 405, 'method_not_allowed', null],
  ['B08: preflight', 'OPTIONS', CHAT, 405, 'method_not_allowed'],
  ['B08: DELETE of a list', 'DELETE', '/v1/models', 405],
  ['B08: unknown path', 'POST', '/v1/moderations', 404, 'not_found', null],
  ['B08: //', 'GET', '//v1/models', 404],
  ['B08: %2f', 'GET', '/v1%2fmodels', 404],
  ['B08: dot segments', 'GET', '/v1/%2e%2e/x/models', 404],
];

export const TRANSPORT: readonly Case[] = [
  ...BODIES.map(([name, raw, ...expect]): Case => ({ name, raw, expect })),
  // Bytes, because a text would get a content type.
  ...HEADERS.map(
    ([name, headers, ...expect]): Case => ({ name, headers, raw: bytes(good), expect }),
  ),
  ...ROUTES.map(([name, method, path, ...expect]): Case => ({ name, method, path, expect })),
];
