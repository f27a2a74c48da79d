// B01-B09: what is wrong before any field is looked at.
import { type Case, CHAT } from './case.ts';

const good = '{"model":"base","prompt":"a","max_tokens":1}';
const json = { 'content-type': 'application/json' };
const bytes = (...parts: (string | number[])[]) =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))),
  );
const inPrompt = (...middle: (string | number[])[]) =>
  bytes('{"model":"base","max_tokens":1,"prompt":"', ...middle, '"}');
const manyKeys = Array.from({ length: 1e5 }, (_, i) => `"${i.toString(36)}":0`).join(',');

export const TRANSPORT: readonly Case[] = [
  { name: 'B01: empty body', raw: '', expect: [400, 'invalid_json', null] },
  { name: 'B01: truncated', raw: good.slice(0, -1), expect: [400, 'invalid_json'] },
  { name: 'B01: trailing comma', raw: '{"model":"base",}', expect: [400, 'invalid_json'] },
  { name: 'B01: BOM', raw: `\ufeff${good}`, expect: [400, 'invalid_json'] },
  { name: 'B01: two values', raw: good + good, expect: [400, 'invalid_json'] },
  { name: 'B02: array', raw: `["a","a",${good}]`, expect: [400, 'invalid_request', null] },
  { name: 'B02: string', raw: '"x"', expect: [400, 'invalid_request', null] },
  { name: 'B02: number', raw: '1', expect: [400, 'invalid_request', null] },
  { name: 'B02: null', raw: 'null', expect: [400, 'invalid_request', null] },
  { name: 'B03: depth 100k', raw: '['.repeat(1e5), expect: [400, 'invalid_json'] },
  { name: 'B03: depth 65', raw: `{"a":${'['.repeat(64)}`, expect: [400, 'invalid_json'] },
  {
    name: 'B03: 1e5 keys',
    raw: `{${manyKeys}}`,
    expect: [400, 'invalid_request'],
  },
  {
    name: 'B03: 1e5 keys in a field',
    raw: `{"metadata":{${manyKeys}},${good.slice(1)}`,
    expect: [400, 'invalid_request', 'metadata'],
  },
  {
    name: 'B03: 1e5 objects',
    raw: `{"messages":[${Array(1e5).fill('{}').join(',')}]}`,
    expect: [400, 'invalid_request', 'messages'],
  },
  { name: 'B03: over 1 MiB', raw: 'x'.repeat(2 ** 20 + 1), expect: [413, 'payload_too_large'] },
  { name: 'B04: stray byte', raw: inPrompt([0xff]), expect: [400, 'invalid_utf8'] },
  { name: 'B04: overlong', raw: inPrompt([0xc0, 0xaf]), expect: [400, 'invalid_utf8'] },
  {
    name: 'B04: surrogate bytes',
    raw: inPrompt([0xed, 0xa0, 0x80]),
    expect: [400, 'invalid_utf8'],
  },
  { name: 'B04: lone high escape', raw: inPrompt('\\ud83d'), expect: [400, 'invalid_utf8'] },
  { name: 'B04: lone low escape', raw: inPrompt('\\uDE00x'), expect: [400, 'invalid_utf8'] },
  { name: 'B04: swapped pair', raw: inPrompt('\\ude00\\ud83d'), expect: [400, 'invalid_utf8'] },
  { name: 'B04: a pair is fine', raw: inPrompt('\\ud83d\\ude00'), expect: [200] },
  {
    name: 'B04: an escaped backslash before ud83d is fine',
    raw: inPrompt('\\\\ud83d'),
    expect: [200],
  },
  {
    name: 'B05: __proto__ and constructor change nothing',
    raw: `{"__proto__":{"n":99},"constructor":{"prototype":{"n":99}},${good.slice(1)}`,
    expect: [400, 'unknown_parameter'],
  },
  {
    name: 'B05: duplicate model',
    raw: `{"model":"other",${good.slice(1)}`,
    expect: [400, 'invalid_json', 'model'],
  },
  {
    name: 'B05: duplicate model, escaped',
    raw: `{"mod\\u0065l":"other",${good.slice(1)}`,
    expect: [400, 'invalid_json', 'model'],
  },
  {
    name: 'B05: the same key in inner objects is fine',
    raw: `{"metadata":{"model":"a","x":{"model":1}},${good.slice(1)}`,
    expect: [200],
  },
  {
    name: 'B06: no content type',
    raw: bytes(good),
    headers: {},
    expect: [415, 'unsupported_media_type'],
  },
  { name: 'B06: xml', raw: good, headers: { 'content-type': 'text/xml' }, expect: [415] },
  {
    name: 'B06: form',
    raw: good,
    headers: { 'content-type': 'multipart/form-data' },
    expect: [415],
  },
  {
    name: 'B06: other charset',
    raw: good,
    headers: { 'content-type': 'application/json; charset=utf-16' },
    expect: [415],
  },
  {
    name: 'B06: utf-8 is fine',
    raw: good,
    headers: { 'content-type': 'Application/JSON; charset="UTF-8"' },
    expect: [200],
  },
  { name: 'B07: gzip', raw: good, headers: { ...json, 'content-encoding': 'gzip' }, expect: [415] },
  {
    name: 'B07: identity',
    raw: good,
    headers: { ...json, 'content-encoding': 'identity' },
    expect: [415],
  },
  { name: 'B07: unknown', raw: good, headers: { ...json, 'content-encoding': 'x' }, expect: [415] },
  { name: 'B08: wrong method', method: 'GET', expect: [405, 'method_not_allowed', null] },
  { name: 'B08: preflight', method: 'OPTIONS', path: CHAT, expect: [405, 'method_not_allowed'] },
  { name: 'B08: DELETE of a list', method: 'DELETE', path: '/v1/models', expect: [405] },
  {
    name: 'B08: unknown path',
    method: 'POST',
    path: '/v1/moderations',
    expect: [404, 'not_found', null],
  },
  { name: 'B08: //', method: 'GET', path: '//v1/models', expect: [404] },
  { name: 'B08: %2f', method: 'GET', path: '/v1%2fmodels', expect: [404] },
  { name: 'B08: dot segments', method: 'GET', path: '/v1/%2e%2e/x/models', expect: [404] },
  {
    name: 'B09: other host',
    headers: { ...json, host: 'evil.example' },
    expect: [400, 'invalid_request'],
  },
  { name: 'B09: host with a suffix', headers: { ...json, host: 'localhost.evil' }, expect: [400] },
  { name: 'B09: host with userinfo', headers: { ...json, host: 'x@localhost' }, expect: [400] },
  {
    name: 'B09: IPv6 loopback is fine',
    headers: { ...json, host: '[::1]:8080' },
    raw: good,
    expect: [200],
  },
];
