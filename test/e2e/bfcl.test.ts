// The Berkeley Function Calling Leaderboard: its tools are accepted, the calls that it expects are possible, and whatever the real
// base calls satisfies the tool's schema. 40 cases; with LORIKEET_E2E_LONG all of them are read, and the base answers 40.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Ajv } from 'ajv';
import OpenAI from 'openai';
import { Grammars } from '../../src/grammar/grammars.ts';
import { constrainCalls } from '../../src/tools/call-constraint.ts';
import { toolFormat, writeCalls } from '../../src/tools/formats.ts';
import { compiled } from '../grammar/compiled.ts';
import { idsOf } from '../grammar/written.ts';
import { createByteTokenizer } from '../http/served.ts';
import { pluck } from '../pluck.ts';
import { type Case, fetchCases } from './bfcl.ts';
import { type Serving, startServing } from './program.ts';
import { fetchBase, isLong, preparedHome } from './served.ts';

const fetched = await fetchCases();
const base = await fetchBase();
const home = 'dir' in base ? await preparedHome(base.dir) : '';
const ajv = new Ajv({ strict: false });
/** Of each of five categories. */
const COUNT = 8;
/** Arguments may hold strings of any length, and a small base does not always end them. */
const MAX_TOKENS = 300;
const MAX_CUT_OFF = 10;

function isValid({ tools }: Case, name: string, given: unknown): boolean {
  const tool = tools.find((one) => one.name === name);
  return tool !== undefined && ajv.validate(tool.parameters, given);
}

describe('cases of BFCL', { skip: 'reason' in fetched ? fetched.reason : false }, () => {
  assert.ok('cases' in fetched);
  // The leaderboard's answers to a few do not satisfy its own schemas.
  const valid = fetched.cases.map((category) =>
    category.filter((one) => one.calls.every((call) => isValid(one, call.name, call.arguments))),
  );
  const some = valid.flatMap((category) => {
    const step = Math.floor(category.length / COUNT);
    return category.filter((_, i) => i % step === 0).slice(0, COUNT);
  });

  const all = valid.flat();
  const tested = isLong ? all : some;
  test(`${tested.length} expected answers are possible`, () => {
    assert.equal(some.length, 40);
    const tokenizer = createByteTokenizer();
    const grammars = new Grammars(tokenizer, tokenizer.vocabSize);
    const format = toolFormat('hermes');
    const impossible = tested.filter(({ tools, calls }) => {
      const rules = { mode: 'required' as const, isSingle: false, tagIds: new Map() };
      const matcher = grammars.createMatcher(compiled(constrainCalls(format, tools, rules)));
      const written = calls.map((call) => ({ ...call, arguments: JSON.stringify(call.arguments) }));
      return !(
        [...Buffer.from(writeCalls(format, written))].every((byte) => {
          const isAllowed = idsOf(matcher.allowed()).includes(byte);
          if (isAllowed) matcher.accept(byte);
          return isAllowed;
        }) && matcher.canEnd
      );
    });
    assert.deepEqual(pluck(impossible, 'id'), []);
  });

  const skip = 'reason' in base ? base.reason : !isLong && 'LORIKEET_E2E_LONG is not set';
  describe('on the real base', { skip }, () => {
    let serving: Serving;
    before(async () => {
      assert.ok('dir' in base);
      serving = await startServing(['--model', base.dir], home);
    });
    after(() => serving.stop());

    test('every call satisfies its schema', async (t) => {
      const client = new OpenAI({ baseURL: `${serving.url}/v1`, apiKey: 'none', maxRetries: 0 });
      const answers = await Promise.all(some.map((one) => ask(client, one)));
      assert.deepEqual(
        answers.flatMap(({ failures }) => failures),
        [],
      );
      const right = answers.filter(({ isRight }) => isRight).length;
      const cutOff = answers.filter(({ isCutOff }) => isCutOff).length;
      t.diagnostic(`${right} of ${some.length} call the expected functions, ${cutOff} are cut off`);
      assert.ok(cutOff <= MAX_CUT_OFF, `${cutOff} are cut off`);
    });
  });
});

async function ask(client: OpenAI, one: Case) {
  const { choices } = await client.chat.completions.create({
    model: 'base',
    temperature: 0,
    messages: [...one.messages],
    tools: one.tools.map((tool) => ({ type: 'function', function: { ...tool } })),
    tool_choice: 'required',
    parallel_tool_calls: one.calls.length > 1,
    max_tokens: MAX_TOKENS,
  });
  const [{ finish_reason, message }] = choices as [OpenAI.Chat.ChatCompletion.Choice];
  const calls = (message.tool_calls ?? []).map((call) => {
    assert.ok(call.type === 'function');
    return call.function;
  });
  const isCutOff = finish_reason === 'length';
  const failures = (isCutOff ? calls.slice(0, -1) : calls)
    .filter((call) => !isValid(one, call.name, JSON.parse(call.arguments)))
    .map((call) => `${one.id}: ${call.name} ${call.arguments}`);
  if (!isCutOff && finish_reason !== 'tool_calls')
    failures.push(`${one.id}: ended by ${finish_reason}`);
  const expected = one.calls.map(({ name }) => name).sort();
  const isRight =
    expected.join() ===
    calls
      .map(({ name }) => name)
      .sort()
      .join();
  return { failures, isRight, isCutOff };
}
