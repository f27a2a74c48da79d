// The messages that a model gets from a chat, links to the playground, and example prompts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Answer,
  hasFailed,
  newAnswer,
  parseAddress,
  toAddress,
  toMessages,
} from '../../src/pages/playground/chat.ts';

const answer = (model: string, text: string, state: Answer['state'] = 'done'): Answer => ({
  ...newAnswer(model),
  text,
  state,
});
const contents = (...args: Parameters<typeof toMessages>) =>
  toMessages(...args).map(({ content }) => content);

test('empty answers are left out with their prompts; partial ones stay, even if they failed', () => {
  const turns = [
    { prompt: 'one', answers: [answer('a', 'A1')] },
    { prompt: 'failed', answers: [answer('a', '', 'failed')] },
    { prompt: 'broken', answers: [answer('a', 'half', 'failed')] },
    { prompt: 'empty', answers: [answer('a', '')] },
    { prompt: 'stopped', answers: [answer('a', 'A2', 'stopped')] },
  ];
  const request = { column: 0, model: 'a', system: ' ', prompt: 'next' };
  const seen = ['one', 'A1', 'broken', 'half', 'stopped', 'A2', 'next'];
  assert.deepEqual(contents(turns, request), seen);
  assert.deepEqual(contents([], { ...request, system: 'Be brief.' }), ['Be brief.', 'next']);
  assert.deepEqual(turns.map(hasFailed), [false, true, false, false, false]);
});

test('a model sees its earlier calls; one that was cut off is left out', () => {
  const call = (id: string, text: string) => ({ id, name: 'f', arguments: text });
  const turns = [
    { prompt: 'p', answers: [{ ...answer('a', ''), calls: [call('x', '{}'), call('y', '{"')] }] },
    { prompt: 'cut', answers: [{ ...answer('a', ''), calls: [call('z', '{"')] }] },
  ];
  const request = { column: 0, model: 'a', system: '', prompt: 'next' };
  const called = { id: 'x', type: 'function', function: { name: 'f', arguments: '{}' } };
  assert.deepEqual(toMessages(turns, request), [
    { role: 'user', content: 'p' },
    { role: 'assistant', content: null, tool_calls: [called] },
    { role: 'user', content: 'next' },
  ]);
});

test('a model sees its own answers; a new one sees those of the first column', () => {
  const turns = [{ prompt: 'p', answers: [answer('a', 'A'), answer('b', 'B'), answer('a', 'C')] }];
  const seen = (column: number, model: string) =>
    contents(turns, { column, model, system: '', prompt: '' })[1];
  assert.equal(seen(0, 'a'), 'A');
  assert.equal(seen(2, 'a'), 'C'); // the same model twice
  assert.equal(seen(0, 'b'), 'B'); // moved to another place
  assert.equal(seen(3, 'new'), 'A');
});

test('a link restores its settings and ignores unknown parameters', () => {
  const link = {
    models: ['ft:toy:acme:x:1', 'base', 'a+0.5*b'],
    system: 'Say "#1" & more',
    prompt: 'What?\nNow',
    parameters: { temperature: '0', stop: 'a\nb' },
  };
  const address = toAddress(link);
  assert.deepEqual(parseAddress(address, ['temperature', 'stop', 'seed']), link);
  assert.deepEqual(parseAddress(`${address}&other=1`, []).parameters, {});
  assert.deepEqual(parseAddress('', []).models, []);
});
