// What the playground reads from its editors for formats and tools, and what it makes of streamed calls.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addCallDeltas,
  type Call,
  checkAnswer,
  isJsonFormat,
  readFormat,
  readTools,
} from '../../src/pages/playground/structured.ts';

test('a schema is wrapped, and a whole response format is taken as it is', () => {
  const schema = { type: 'object', properties: { a: { type: 'string' } } };
  assert.deepEqual(readFormat(JSON.stringify(schema)), {
    value: { type: 'json_schema', json_schema: { name: 'answer', schema } },
    problem: '',
  });
  for (const whole of [
    { type: 'json_schema', json_schema: { name: 'mine', strict: true, schema } },
    { type: 'json_object' },
    { type: 'text' },
  ]) {
    assert.deepEqual(readFormat(JSON.stringify(whole)).value, whole);
    assert.equal(isJsonFormat(whole), whole.type !== 'text');
  }
});

test('one function, a list of functions and a list of tools mean the same', () => {
  const f = { name: 'f', parameters: { type: 'object' } };
  const tools = [{ type: 'function', function: f }];
  for (const typed of [f, [f], tools[0], tools]) {
    assert.deepEqual(readTools(JSON.stringify(typed)), { value: tools, problem: '' });
  }
});

test('an empty field is no value and no problem; other text has a problem', () => {
  for (const read of [readFormat, readTools]) {
    assert.deepEqual(read(' \n'), { problem: '' });
    assert.match(read('{"a": 1,}').problem, /^Not JSON: /);
    assert.match(read('"text"').problem, /JSON object/);
    assert.equal(read('7').value, undefined);
  }
  assert.match(readTools('[]').problem, /list of functions/);
});

test('pieces of parallel calls are joined by their index', () => {
  const begin = (index: number, id: string, name: string) => [
    { index, id, type: 'function' as const, function: { name, arguments: '' } },
  ];
  const more = (index: number, text: string) => [{ index, function: { arguments: text } }];
  const deltas = [begin(0, 'a', 'f'), more(0, '{"x"'), begin(1, 'b', 'g'), more(0, ':1}')];
  const calls = [...deltas, more(1, '{}')].reduce<readonly Call[]>(addCallDeltas, []);
  assert.deepEqual(calls, [
    { id: 'a', name: 'f', arguments: '{"x":1}' },
    { id: 'b', name: 'g', arguments: '{}' },
  ]);
});

test('an answer is checked if it has calls or should be JSON', () => {
  const call = (text: string) => ({ id: 'a', name: 'f', arguments: text });
  const verdict = (text: string, calls: Call[], isJson: boolean) =>
    checkAnswer({ text, calls, isJson })?.text;
  assert.equal(verdict('Hello', [], false), undefined);
  assert.equal(verdict('{"a":1}', [], true), 'valid JSON');
  assert.equal(verdict('{"a":', [], true), 'incomplete JSON');
  assert.equal(verdict('Let me see.', [call('{}')], true), 'valid arguments');
  assert.equal(verdict('', [call('{}'), call('{"a')], false), 'incomplete arguments');
});
