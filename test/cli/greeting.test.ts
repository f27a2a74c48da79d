// What a ready server prints: a request that its base can answer, and a warning where others can reach it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Greeting, greet } from '../../src/cli/greeting.ts';

const url = 'http://127.0.0.1:8080';
const ready: Omit<Greeting, 'config'> = {
  ...{ url, name: 'a-base', canChat: true, hasAdapters: true },
  ...{ demos: [], access: 'local' },
};

test('a ready server names its URL and a request that its base can answer', () => {
  const config = { adapters: undefined };
  const chat = greet({ ...ready, config });
  assert.match(chat, /^a-base is served at http:\/\/127\.0\.0\.1:8080\n/);
  assert.match(chat, /browser .* playground.* API is at http:\/\/127\.0\.0\.1:8080\/docs\n/);
  assert.match(chat, /curl http:\/\/127\.0\.0\.1:8080\/v1\/chat\/completions .*"messages"/);
  assert.match(greet({ ...ready, canChat: false, config }), /\/v1\/completions .*"prompt"/);
  assert.doesNotMatch(chat, /Whoever|Adapters/);
});

test('an adapters folder that is not there is told, since a wrong path looks like an empty folder', () => {
  const config = { adapters: '/srv/adapter' };
  const greeting = { ...ready, config };
  assert.match(
    greet({ ...greeting, hasAdapters: false }),
    /Adapters: \/srv\/adapter \(not there yet\)/,
  );
  assert.doesNotMatch(greet({ ...greeting, hasAdapters: true }), /not there/);
});

test('where it is open to others it says who may use it', () => {
  const config = { adapters: '/srv/adapters' };
  const text = greet({ ...ready, access: 'open', config });
  assert.match(text, /Whoever reaches this port/);
  assert.match(text, /Adapters: \/srv\/adapters/);
});

test('with a keys file its request carries a key', () => {
  const config = { adapters: undefined };
  const text = greet({ ...ready, access: 'keys', config });
  assert.match(text, /curl \S+ -H "authorization: Bearer \$KEY" /);
  assert.doesNotMatch(text, /Whoever/);
  assert.doesNotMatch(greet({ ...ready, config }), /authorization/);
});

test('demo adapters are named, with the flag that hides them', () => {
  const config = { adapters: undefined };
  const text = greet({ ...ready, demos: ['intent', 'zen'], config });
  assert.match(text, /^Demo adapters: intent, zen \(--no-demo hides them\)$/m);
  assert.doesNotMatch(greet({ ...ready, config }), /[Dd]emo/);
});
