import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ToolFormatName } from '../../src/contracts/tool-format.ts';
import { CallParser, type CompletionPart } from '../../src/tools/call-parser.ts';
import { toolFormat, writeCalls } from '../../src/tools/formats.ts';

const NAMES = ['get_weather', 'add'];

interface Options {
  format?: ToolFormatName;
  maxCalls?: number;
}

function parts(pieces: readonly string[], { format = 'hermes', maxCalls = 9 }: Options = {}) {
  let ids = 0;
  const createId = () => `call_${ids++}`;
  const parser = new CallParser(toolFormat(format), { names: NAMES, maxCalls, createId });
  return [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
}

/** Content, and calls as `name(arguments)`. */
function summary(found: readonly CompletionPart[]) {
  const calls: string[] = [];
  let content = '';
  for (const part of found) {
    if (part.type === 'content') content += part.text;
    else if (part.type === 'call') calls[part.index] = `${part.name} `;
    else calls[part.index] += part.text;
  }
  return { content, calls };
}

/** Every way to parse a text: at once, in single units, and cut in two at each place. */
function parseAll(text: string, options?: Options) {
  const whole = summary(parts([text], options));
  assert.deepEqual(summary(parts([...text], options)), whole);
  for (let at = 0; at <= text.length; at++) {
    assert.deepEqual(summary(parts([text.slice(0, at), text.slice(at)], options)), whole);
  }
  return whole;
}

const weather = '{"name": "get_weather", "arguments": {"city": "Paris"}}';
const tagged = `<tool_call>\n${weather}\n</tool_call>`;
const paris = 'get_weather {"city": "Paris"}';

describe('Hermes’ format', () => {
  test('text without a tag is content, whatever white space it has', () => {
    const text = ' \nLess <than 3>, <tool> and <tool_call\n ';
    assert.deepEqual(parseAll(text), { content: text, calls: [] });
  });

  test('calls follow content, and white space around them is dropped', () => {
    assert.deepEqual(parseAll(`Sure.\n\n${tagged}\n${tagged}\n`), {
      content: 'Sure.',
      calls: [paris, paris],
    });
    assert.deepEqual(parseAll(`\n${tagged} Done`), { content: ' Done', calls: [paris] });
  });

  test('arguments keep their spelling, with braces and quotes in texts', () => {
    const given = '{"a": "}\\" </tool_call>", "b" : [1.50, {"c":{}}]}';
    const text = `<tool_call>{"name":"add","arguments":${given}}</tool_call>`;
    assert.deepEqual(parseAll(text).calls, [`add ${given}`]);
  });

  test('a list of calls in one tag, other keys and arguments before the name are understood', () => {
    const first = '{"id": "x", "arguments": {"a": 1}, "name": "add"}';
    const text = `<tool_call>[${first}, ${weather}]</tool_call>`;
    assert.deepEqual(parseAll(text), { content: '', calls: ['add {"a": 1}', paris] });
  });

  test('arguments may be absent, null or the text of an object', () => {
    for (const [members, given] of [
      ['"name": "add"', '{}'],
      ['"name": "add", "arguments": null', '{}'],
      ['"name": "add", "arguments": "{\\"a\\": 1}"', '{"a": 1}'],
      ['"arguments": "{\\"a\\": 1}", "name": "add"', '{"a": 1}'],
    ]) {
      const { calls } = parseAll(`<tool_call>{${members}}</tool_call>`);
      assert.deepEqual(calls, [`add ${given}`], members);
    }
  });

  test('what is no call of a known function stays content', () => {
    for (const text of [
      '<tool_call>{"name": "other", "arguments": {}}</tool_call>',
      '<tool_call>{"arguments": {}}</tool_call>',
      '<tool_call>{"name": "add", "arguments": 3}</tool_call>',
      '<tool_call>{"name": add}</tool_call> and more',
      '<tool_call>{name: "add"}',
      'a <tool_call>\n</tool_call> b',
      'It is <tool_call>ed.',
      '<tool_call>{"name": "get_wea',
      '<tool_call>',
    ]) {
      assert.deepEqual(parseAll(text), { content: text, calls: [] }, text);
    }
  });

  test('a call that was cut off has the arguments so far', () => {
    const cut = tagged.slice(0, tagged.indexOf('ris'));
    assert.deepEqual(parseAll(cut), { content: '', calls: ['get_weather {"city": "Pa'] });
  });

  test('the beginning of a further call is dropped, wherever it was cut off', () => {
    const next = `\n${tagged}`;
    for (let end = 0; end < next.indexOf('{"city'); end++) {
      const cut = `Sure.\n${tagged}${next.slice(0, end)}`;
      assert.deepEqual(parseAll(cut), { content: 'Sure.', calls: [paris] }, cut);
    }
    for (const [answer, content] of [
      [`${tagged} a <`, ' a <'],
      [`${tagged} It is <tool_call>ed.`, ' It is <tool_call>ed.'],
      [`${tagged} a <tool_call>{"name": "get`, ' a'],
    ] as const) {
      assert.deepEqual(parseAll(answer), { content, calls: [paris] }, answer);
    }
  });

  test('a missing end of a call does not lose it', () => {
    const text = `<tool_call>{"name": "add", "arguments": {}</tool_call>ok`;
    assert.deepEqual(parseAll(text), { content: 'ok', calls: ['add {}'] });
  });

  test('what follows the last allowed call is dropped', () => {
    const found = parseAll(`a ${tagged}${tagged} b`, { maxCalls: 1 });
    assert.deepEqual(found, { content: 'a', calls: [paris] });
  });

  test('arguments are passed on as they come, and a possible tag is held back', () => {
    const pieces = ['Hi <to', 'ol_call>{"name": "add", ', '"arguments": {"a', '": 1}', '}</tool_'];
    assert.deepEqual(parts(pieces), [
      { type: 'content', text: 'Hi' },
      { type: 'call', index: 0, id: 'call_0', name: 'add' },
      { type: 'arguments', index: 0, text: '{"a' },
      { type: 'arguments', index: 0, text: '": 1}' },
    ]);
  });
});

test('in Llama’s format an answer may be a call, with or without a tag', () => {
  const llama = { format: 'llama3', maxCalls: 1 } as const;
  const call = '{"name": "get_weather", "parameters": {"city": "Paris"}}';
  assert.deepEqual(parseAll(call, llama), { content: '', calls: [paris] });
  assert.deepEqual(parseAll(`\n<|python_tag|>${call}`, llama), { content: '', calls: [paris] });
  for (const text of [`See ${call}`, ' {"answer": 3}', '{}', '{"name": "x"} y', '']) {
    assert.deepEqual(parseAll(text, llama), { content: text, calls: [] });
  }
});

test('in Mistral’s format one tag begins a list', () => {
  const mistral = { format: 'mistral' } as const;
  const found = parseAll(`Sure [TOOL_CALLS] [${weather}, ${weather}]`, mistral);
  assert.deepEqual(found, { content: 'Sure', calls: [paris, paris] });
  const list = `[TOOL_CALLS] [${weather}, ${weather}`;
  for (let end = list.indexOf('}}') + 2; end < list.lastIndexOf('{"city'); end++) {
    assert.deepEqual(parseAll(list.slice(0, end), mistral), { content: '', calls: [paris] });
  }
  assert.deepEqual(parseAll('[TOOL] [1]', mistral), { content: '[TOOL] [1]', calls: [] });
});

test('each format’s parser reads what the format writes', () => {
  const calls = [{ name: 'get_weather', arguments: '{"city":"Paris"}' }];
  for (const format of ['hermes', 'llama3', 'mistral'] as const) {
    const text = writeCalls(toolFormat(format), calls);
    assert.deepEqual(parseAll(text, { format }), { content: '', calls: [paris] });
  }
});
