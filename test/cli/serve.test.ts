// What a ready server prints: a request that its base can answer, and a warning where others can reach it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { greet } from '../../src/cli/serve-command.ts';
import type { ReadyServer } from '../../src/compose/server.ts';

const ready: ReadyServer = {
  url: 'http://127.0.0.1:8080',
  name: 'a-base',
  canChat: true,
  adapters: undefined,
  demos: [],
  access: 'local',
};

test('a ready server names its URL and a request that its base can answer', () => {
  const chat = greet(ready);
  assert.match(chat, /^a-base is served at http:\/\/127\.0\.0\.1:8080\n/);
  assert.match(chat, /browser .* playground.* API .* at http:\/\/127\.0\.0\.1:8080\/docs\n/);
  assert.match(chat, /curl http:\/\/127\.0\.0\.1:8080\/v1\/chat\/completions .*"messages"/);
  assert.match(greet({ ...ready, canChat: false }), /\/v1\/completions .*"prompt"/);
  assert.doesNotMatch(chat, /Anyone|Adapters/);
});

test('an adapters folder that does not exist is mentioned, since a wrong path looks like an empty folder', () => {
  const greetingFor = (exists: boolean) =>
    greet({ ...ready, adapters: { folder: '/srv/adapter', exists } });
  assert.match(greetingFor(false), /Adapters: \/srv\/adapter \(does not exist yet\)/);
  assert.doesNotMatch(greetingFor(true), /exist/);
});

test('where it is open to others it says who may use it', () => {
  const adapters = { folder: '/srv/adapters', exists: true };
  const text = greet({ ...ready, access: 'open', adapters });
  assert.match(text, /Anyone who can reach this port/);
  assert.match(text, /Adapters: \/srv\/adapters/);
});

test('with a keys file its request carries a key', () => {
  const text = greet({ ...ready, access: 'keys' });
  assert.match(text, /curl \S+ -H "authorization: Bearer \$KEY" /);
  assert.doesNotMatch(text, /Anyone/);
  assert.doesNotMatch(greet(ready), /authorization/);
});

test('demo adapters are named, with the flag that hides them', () => {
  const text = greet({ ...ready, demos: ['intent', 'zen'] });
  assert.match(text, /^Demo adapters: intent, zen \(--no-demo hides them\)$/m);
  assert.doesNotMatch(greet(ready), /[Dd]emo/);
});
