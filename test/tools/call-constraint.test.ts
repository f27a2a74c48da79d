// Which answers with calls are possible: what a format writes is, and what breaks a schema is not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ToolFormatName } from '../../src/contracts/tool-format.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { constrainCalls } from '../../src/tools/call-constraint.ts';
import { toolFormat, writeCalls } from '../../src/tools/formats.ts';
import { compiled } from '../grammar/compiled.ts';
import { idsOf } from '../grammar/written.ts';
import { createByteTokenizer } from '../http/served.ts';

const tokenizer = createByteTokenizer();
const grammars = new Grammars(tokenizer, tokenizer.vocabSize);
const weather = {
  name: 'get_weather',
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer', maximum: 9 } },
    required: ['city'],
  },
};
const tools = [weather, { name: 'clock' }];
const FORMATS: readonly ToolFormatName[] = ['hermes', 'llama3', 'mistral'];

interface Rules {
  format?: ToolFormatName;
  mode?: 'auto' | 'required';
  isSingle?: boolean;
  text?: Parameters<typeof constrainCalls>[2]['text'];
  tagIds?: ReadonlyMap<string, number>;
}

/** Whether an answer is possible. A number is a control token. */
function isPossible(
  parts: readonly (string | number)[],
  { format = 'hermes', mode = 'auto', isSingle = false, tagIds = new Map(), text }: Rules = {},
): boolean {
  const rules = { mode, isSingle, tagIds, text };
  const matcher = grammars.createMatcher(
    compiled(constrainCalls(toolFormat(format), tools, rules)),
  );
  const ids = parts.flatMap((part) => (typeof part === 'number' ? part : [...Buffer.from(part)]));
  for (const id of ids) {
    if (!idsOf(matcher.allowed()).includes(id)) return false;
    matcher.accept(id);
  }
  return matcher.canEnd;
}

const call = (given: string, name = 'get_weather') => ({ name, arguments: given });
const paris = call('{"city":"Paris","days":3}');
const clock = call('{}', 'clock');

for (const format of FORMATS) {
  describe(`in the format ${format}`, () => {
    const write = (...calls: (typeof paris)[]) => writeCalls(toolFormat(format), calls);
    const isSingle = toolFormat(format).isSingle;
    const rules = { format, isSingle };

    test('a call is possible as templates write it, and required', () => {
      for (const mode of ['auto', 'required'] as const) {
        for (const one of [paris, clock]) {
          assert.ok(isPossible([write(one)], { ...rules, mode }), `${mode} ${one.name}`);
        }
        assert.equal(isPossible([write(paris, clock)], { ...rules, mode }), !isSingle);
      }
      assert.ok(!isPossible([write(paris, clock)], { ...rules, isSingle: true }));
    });

    test('other text is possible unless a call is required', () => {
      assert.ok(isPossible(['Hello <b> [1] {}'], rules));
      assert.ok(isPossible([''], rules));
      for (const text of ['Hello', '', `a ${write(paris)}`]) {
        assert.ok(!isPossible([text], { ...rules, mode: 'required' }), text);
      }
    });

    test('arguments satisfy their schema', () => {
      for (const wrong of [
        call('{"city": 3}'),
        call('{"days": 3}'),
        call('{"city": "Paris", "days": 10}'),
        call('{"city": "Paris", "other": 1}'),
        call('{"x": 1}', 'clock'),
        call('{}', 'unknown'),
      ]) {
        assert.ok(!isPossible([write(wrong)], rules), write(wrong));
      }
    });

    test('an answer without calls has its own constraint', () => {
      const text = { kind: 'choice' as const, texts: ['yes'] };
      assert.ok(isPossible(['yes'], { ...rules, text }));
      assert.ok(isPossible([write(paris)], { ...rules, text }));
      assert.ok(!isPossible(['no'], { ...rules, text }));
    });
  });
}

test('text may come before and between Hermes’ calls', () => {
  const one = writeCalls(toolFormat('hermes'), [paris]);
  assert.ok(isPossible([`Sure. ${one} and ${one} done`]));
  assert.ok(!isPossible([`${one} and`], { isSingle: true }));
});

test('a tag that is a control token of the model is one in calls, and in nothing else', () => {
  const control = 256;
  const mistral = { format: 'mistral' as const, tagIds: new Map([['[TOOL_CALLS]', control]]) };
  const written = writeCalls(toolFormat('mistral'), [paris]).slice('[TOOL_CALLS]'.length);
  for (const mode of ['auto', 'required'] as const) {
    assert.ok(isPossible([control, written], { ...mistral, mode }));
    assert.ok(!isPossible([control, 'Hello'], { ...mistral, mode }));
    assert.ok(!isPossible([257, written], { ...mistral, mode }));
  }
  assert.ok(isPossible(['Sure. ', control, written], mistral));
  assert.ok(!isPossible(['Sure. ', control], mistral));
  const hermes = {
    tagIds: new Map([
      ['<tool_call>', 256],
      ['</tool_call>', 257],
    ]),
  };
  const body = '\n{"name": "clock", "arguments": {}}\n';
  assert.ok(isPossible(['Hi', 256, body, 257, '\n', 256, body, 257], hermes));
  assert.ok(!isPossible([256], {}));
});
