// What a ready server prints: a request that its base can answer, and a warning where others can reach it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { greet, suggest } from '../../src/cli/serve-command.ts';
import { openStartBar } from '../../src/cli/start-display.ts';
import type { ReadyServer } from '../../src/compose/context.ts';

const ready: ReadyServer = {
  url: 'http://127.0.0.1:8080',
  name: 'a-base',
  model: 'a-base',
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

test('on a terminal it suggests a chat, the playground and a training run, in three lines', () => {
  const [chat, playground, train, ...rest] = suggest(ready).split('\n');
  assert.match(chat!, /^Chat: +curl http:\/\/127\.0\.0\.1:8080\/v1\/chat\/completions /);
  assert.match(playground!, /^Playground: http:\/\/127\.0\.0\.1:8080 /);
  assert.match(train!, /^Train: +npx lorikeet train --model a-base --data rows\.jsonl --name /);
  assert.deepEqual(rest, ['']);
  assert.match(suggest({ ...ready, canChat: false }), /^Complete: .*\/v1\/completions/);
});

test('on a terminal warnings come before the suggestions', () => {
  const adapters = { folder: '/srv/adapter', exists: false };
  assert.match(
    suggest({ ...ready, access: 'open', adapters }),
    /^The folder \/srv\/adapter does not exist yet\.\nAnyone who can reach .*\nChat: /,
  );
});

/** The lines that a terminal shows after this output. */
function screenOf(output: string): string[] {
  return output
    .split('\n')
    .map((line) => line.slice(line.lastIndexOf('\r') + 1).replace('\u001b[K', ''));
}

test('the bar of a start fills over all phases, below the messages, and never goes back', async () => {
  let output = '';
  const bar = openStartBar((text) => {
    output += text;
  });
  const { notify, openProgress } = bar.reporter;
  notify('Fetching a model.');
  const progress = await openProgress();
  for (let done = 0; done <= 10; done++) progress.update('download', done, 10);
  notify('Cannot import it.');
  progress.update('download', 0, 10);
  progress.update('prepare', 1, 2);
  progress.end();
  bar.complete('a-base is ready');
  bar.close();
  notify('later');
  const [first, second, last, ...rest] = screenOf(output);
  assert.deepEqual([first, second], ['Fetching a model.', 'Cannot import it.']);
  assert.match(last!, /^█{30} 100% a-base is ready$/);
  assert.deepEqual(rest, ['later', '']);
  const percents = [...output.matchAll(/ (\d+)% /g)].map(([, percent]) => Number(percent));
  assert.deepEqual(
    percents,
    percents.toSorted((a, b) => a - b),
  );
  assert.ok(percents.includes(80));
});

test('a start that fails leaves no bar', () => {
  let output = '';
  openStartBar((text) => {
    output += text;
  }).close();
  assert.deepEqual(screenOf(output), ['']);
});
