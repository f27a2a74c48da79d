// What a ready server prints: a request that its base can answer, and a warning where others can reach it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { greet } from '../../src/cli/greeting.ts';

const url = 'http://127.0.0.1:8080';

test('a ready server names its URL and a request that its base can answer', () => {
  const config = { host: '127.0.0.1', adapters: undefined };
  const chat = greet({ url, name: 'a-base', canChat: true, hasAdapters: true, config });
  assert.match(chat, /a-base is served at http:\/\/127\.0\.0\.1:8080/);
  assert.match(chat, /curl http:\/\/127\.0\.0\.1:8080\/v1\/chat\/completions .*"messages"/);
  assert.match(
    greet({ url, name: 'a-base', canChat: false, hasAdapters: true, config }),
    /\/v1\/completions .*"prompt"/,
  );
  assert.doesNotMatch(chat, /Whoever|Adapters/);
});

test('an adapters folder that is not there is told, since a wrong path looks like an empty folder', () => {
  const config = { host: '127.0.0.1', adapters: '/srv/adapter' };
  const greeting = { url, name: 'a-base', canChat: true, config };
  assert.match(
    greet({ ...greeting, hasAdapters: false }),
    /Adapters: \/srv\/adapter \(not there yet\)/,
  );
  assert.doesNotMatch(greet({ ...greeting, hasAdapters: true }), /not there/);
});

test('beyond loopback it says who may use it', () => {
  const config = { host: '0.0.0.0', adapters: '/srv/adapters' };
  const text = greet({ url, name: 'a-base', canChat: true, hasAdapters: true, config });
  assert.match(text, /Whoever reaches this port/);
  assert.match(text, /Adapters: \/srv\/adapters/);
});
