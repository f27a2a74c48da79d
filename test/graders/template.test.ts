// Templates of graders: the values they name, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkTemplate, fillTemplate, toSample, unknownName } from '../../src/graders/template.ts';

const item = {
  answer: 'blue',
  nested: { list: [1, { x: null }] },
  'my key': { 'a.b': 'dotted', "it's": 'quoted' },
};
const calls = [{ function: { name: 'paint', arguments: '{}' } }];

test('places take values of the item and the sample', () => {
  const values = { item, sample: toSample('{"x": {"y": 2}}', calls) };
  for (const [template, text] of [
    ['plain', 'plain'],
    ['{{item.answer}}', 'blue'],
    ['is {{ item.answer }}!{{item.answer}}', 'is blue!blue'],
    ['{{item.nested.list[0]}}', '1'],
    ['{{item.nested.list[1].x}}', 'null'],
    ['{{item.nested}}', '{"list":[1,{"x":null}]}'],
    ['{{sample.output_text}}', '{"x": {"y": 2}}'],
    ['{{sample.output_json.x.y}}', '2'],
    ['{{sample.output_tools[0].function.name}}', 'paint'],
    ['{{sample.choices[0].message.role}}', 'assistant'],
    ['{ {item.answer} }', '{ {item.answer} }'],
    ['{{{item.answer}}}', '{blue}'],
    ['{{item["my key"]["a.b"]}}', 'dotted'],
    [`{{ item['my key']["it's"] }}`, 'quoted'],
    ['{{sample["output_json"].x["y"]}}', '2'],
  ] as const) {
    assert.equal(fillTemplate(template, values), text);
  }
});

test('a value that does not exist, or is inherited, is an error', () => {
  const values = { item, sample: toSample('no JSON') };
  for (const template of [
    '{{item.other}}',
    '{{item.answer.length}}',
    '{{item.constructor}}',
    '{{item.nested.list[7]}}',
    '{{item.nested.list.length}}',
  ]) {
    checkTemplate(template);
    assert.throws(() => fillTemplate(template, values), { kind: 'invalid_variable_error' });
  }
  for (const template of ['{{answer}}', '{{item.}}', '{{item[x]}}', '{{}}', '{{items.a}}']) {
    assert.throws(() => checkTemplate(template), { kind: 'invalid_variable_error' });
  }
  for (const template of ['{{item.my key}}', '{{item["answer}}', '{{item[\'answer"]}}']) {
    assert.throws(() => checkTemplate(template), /such as item\.answer or item\["my key"\]$/);
  }
});

test('a name that is not closed is refused, and not taken literally', () => {
  for (const [template, named] of [
    ['{{item.a', '{{item.a'],
    ['is {{item.answer}}? {{item.a}', '{{item.a'],
    ['{{item.a} and {{item.answer}}', '{{item.a'],
    ['{{item["{x}"]}}', '{{item["'],
  ] as const) {
    const isNamed = (error: Error) => error.message.startsWith(`${named}: `);
    assert.throws(() => checkTemplate(template), isNamed, template);
  }
});

test('a value that a sample happens to lack is an error of the sample', () => {
  for (const [text, template] of [
    ['no JSON', '{{sample.output_json}}'],
    ['no JSON', '{{sample.output_json.x}}'],
    ['{"y": 1}', '{{sample.output_json.x}}'],
    ['null', '{{sample.output_json.x}}'],
    ['no call', '{{sample.output_tools[0].function.name}}'],
    ['no call', '{{sample.choices[0].message.tool_calls[1].id}}'],
  ] as const) {
    checkTemplate(template);
    const values = { item, sample: toSample(text) };
    assert.throws(() => fillTemplate(template, values), { kind: 'sample_parse_error' }, template);
  }
});

test('a value that no sample can have is refused before there are samples', () => {
  for (const name of [
    ...['output', 'output_audio', 'constructor', 'output_text.length'],
    ...['output_tools.function.name', 'output_tools[0].name', 'output_tools.length'],
    ...['output_tools[0].function.arguments.color', 'choices[1].message', 'choices[0].text'],
  ]) {
    assert.throws(() => checkTemplate(`a {{item.x}} {{ sample.${name} }}`), {
      kind: 'invalid_variable_error',
      message: `{{sample.${name}}}: no sample has this value. Samples have output_text, output_json, output_tools, choices`,
    });
  }
});

test('a name that no item has is found', () => {
  const items = [{}, undefined, { a: { b: [null] } }];
  for (const [template, name] of [
    ['{{item.a.b[0]}} {{ item.a }} {{item}} {{sample.output_json.x}}', undefined],
    ['{{item.a}} {{item.b}} {{item.c}}', 'item.b'],
    ['{{ item.a.b[1] }}', 'item.a.b[1]'],
  ] as const) {
    assert.equal(unknownName(template, items), name);
  }
});

test('a filled template has a limit, and odd braces take linear time', () => {
  const values = { item: { long: 'x'.repeat(2500) }, sample: toSample('') };
  assert.equal(fillTemplate('{{item.long}}'.repeat(3), values).length, 7500);
  assert.throws(() => fillTemplate('{{item.long}}'.repeat(4), values), { kind: 'other_error' });
  for (const template of ['{'.repeat(8192), `{{${' '.repeat(8000)}`]) {
    assert.throws(() => checkTemplate(template), { kind: 'invalid_variable_error' });
    assert.equal(fillTemplate(template, values), template);
  }
});
