// Constrained answers over HTTP. The scripted engine's logits are equal except for the end, so what is drawn is random text
// that the grammar allows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
} from '../../src/contracts/openai.ts';
import { assertRefused, readFrames, readOk, serve } from './served.ts';

const URL = '/v1/chat/completions';
const SCHEMA = {
  type: 'object',
  properties: {
    intent: { enum: ['GetWeather', 'PlayMusic'] },
    slots: {
      type: 'object',
      properties: { city: { type: 'string', minLength: 1, maxLength: 8 } },
      required: ['city'],
      additionalProperties: false,
    },
  },
  required: ['intent', 'slots'],
  additionalProperties: false,
};

function request(schema: unknown, fields: Record<string, unknown> = {}) {
  return {
    model: 'base',
    messages: [{ role: 'user', content: 'Hi' }],
    temperature: 1,
    seed: 1,
    response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } },
    ...fields,
  };
}

test('an answer with a schema is valid JSON of this schema and ends with stop', async () => {
  const { post } = serve({ reply: () => [] });
  const { choices } = await readOk<ChatCompletion>(await post(URL, request(SCHEMA, { n: 8 })));
  assert.equal(new Set(choices.map(({ message }) => message.content)).size, 8);
  for (const { message, finish_reason } of choices) {
    const { intent, slots } = JSON.parse(message.content!);
    assert.match(intent, /^(GetWeather|PlayMusic)$/);
    assert.ok([...slots.city].length <= 8 && slots.city.length > 0);
    assert.equal(finish_reason, 'stop');
    assert.equal(message.refusal, null);
  }
});

test('a stream with a schema has the text of the plain answer', async () => {
  const { post } = serve({ reply: () => [] });
  const { choices } = await readOk<ChatCompletion>(await post(URL, request(SCHEMA)));
  const frames = await readFrames(await post(URL, request(SCHEMA, { stream: true })));
  const chunks = (frames as ChatCompletionChunk[]).flatMap((frame) => frame.choices ?? []);
  const streamed = chunks.map(({ delta }) => delta.content ?? '').join('');
  assert.equal(streamed, choices[0]!.message.content);
  assert.equal(chunks.at(-1)!.finish_reason, 'stop');
});

test('an answer that max_tokens cuts says length', async () => {
  const { post } = serve({ reply: () => [] });
  const body = request(SCHEMA, { max_tokens: 12 });
  const { choices } = await readOk<ChatCompletion>(await post(URL, body));
  assert.equal(choices[0]!.finish_reason, 'length');
  assert.ok(choices[0]!.message.content!.startsWith('{"intent":"'));
});

test('json_object gives any JSON object', async () => {
  const { post } = serve({ reply: () => [] });
  const body = request({}, { response_format: { type: 'json_object' }, n: 8, max_tokens: 200 });
  const { choices } = await readOk<ChatCompletion>(await post(URL, body));
  for (const { message, finish_reason } of choices) {
    assert.ok(message.content!.startsWith('{'));
    if (finish_reason === 'stop') assert.equal(typeof JSON.parse(message.content!), 'object');
  }
});

const DECIMALS = /#\/multipleOf must have at most 20 decimals/;
const FAULTS: [name: string, schema: unknown, message: RegExp][] = [
  ['crossed bounds', { type: 'string', minLength: 5, maxLength: 3 }, /#\/minLength is above max/],
  [
    'an empty enum',
    { properties: { a: { enum: [] } } },
    /#\/properties\/a\/enum must be a non-empty/,
  ],
  ['an unknown type', { type: 'text' }, /#\/type must be one of object, array/],
  ['a keyword without effect', { unevaluatedItems: false }, /#\/unevaluatedItems is not supported/],
  ['a reference to nothing', { $ref: '#/$defs/x' }, /#\/\$ref nothing is at #\/\$defs\/x/],
  ['a broken pattern', { type: 'string', pattern: '(' }, /#\/pattern is not a regular expression/],
  ['endless recursion', { properties: { a: { $ref: '#' } }, required: ['a'] }, /no finite text/],
  ['a step of too many decimals', { type: 'number', multipleOf: 1.5e-20 }, DECIMALS],
  ['a step that rounds to nothing', { multipleOf: 1e-300, minimum: 0, maximum: 1 }, DECIMALS],
  ['a reference to itself', { $ref: '#' }, /#\/\$ref refers to itself/],
  [
    'references in a circle',
    {
      $defs: { a: { $ref: '#/$defs/b' }, b: { anyOf: [{ $ref: '#/$defs/a' }] } },
      $ref: '#/$defs/a',
    },
    /#\/\$defs\/b\/anyOf\/0 refers to itself/,
  ],
  ['a reference that is no URI', { $ref: '#/%zz' }, /#\/\$ref is not a reference/],
  [
    'a part of allOf that allows nothing',
    { properties: { a: { allOf: [true, false] } }, required: ['a'] },
    /#\/properties\/a\/allOf\/1 allows no value/,
  ],
  [
    'parts that contradict each other',
    { $defs: { a: { enum: [1] } }, allOf: [{ $ref: '#/$defs/a' }, { const: 2 }] },
    /#\/allOf\/1\/const allows none of the values/,
  ],
  [
    'options of oneOf that overlap',
    { oneOf: [{ type: 'string' }, { format: 'email' }] },
    /#\/oneOf\/1\/format is not supported inside of not, nor/,
  ],
  [
    'a pattern that is too ambiguous',
    { type: 'string', pattern: '()'.repeat(9000) },
    /# is too ambiguous: .* Avoid repeats/,
  ],
  [
    'fifty thousand names',
    { required: Array.from({ length: 50_000 }, (_, i) => `p${i}`) },
    /# has more than 5000 properties/,
  ],
  [
    'a pattern of too many characters',
    { type: 'string', pattern: `^${'é'.repeat(19_000)}$` },
    /# is too large: .* Lower the counts/,
  ],
  ['contradicting types', { type: 'integer', enum: ['x'] }, /#\/enum no value of it is allowed/],
];

for (const [name, schema, message] of FAULTS) {
  test(`a schema with ${name} is refused with the place of the fault`, async () => {
    const { post, client } = serve({ reply: () => [] });
    const param = 'response_format.json_schema.schema';
    await assertRefused(await post(URL, request(schema)), { status: 400, param, message });
    assert.equal((await client.stats()).steps, 0);
  });
}

const COLOR = /^(red|blue)$/;
const GRAMMAR = 'root ::= "red" | "blue" # colors';
const content = { type: 'json_schema', json_schema: { type: 'boolean' } };
const TAG = { structural_tag: { format: { type: 'tag', begin: '<a>', content, end: '</a>' } } };
const OLDER_TAG = {
  type: 'structural_tag',
  structures: [{ begin: '<a>', schema: { type: 'null' }, end: '</a>' }],
  triggers: ['<a'],
};
const SPELLINGS: [name: string, fields: Record<string, unknown>, answer: RegExp][] = [
  ['structured_outputs.json', { structured_outputs: { json: SCHEMA } }, /^\{"intent":"/],
  ['structured_outputs.json as text', { structured_outputs: { json: '{"const":"a"}' } }, /^"a"$/],
  ['structured_outputs.regex', { structured_outputs: { regex: 'red|blue' } }, COLOR],
  ['structured_outputs.choice', { structured_outputs: { choice: ['red', 'blue'] } }, COLOR],
  ['structured_outputs.grammar', { structured_outputs: { grammar: GRAMMAR } }, COLOR],
  [
    'the same grammar in two spellings, as guidance sends it',
    { structured_outputs: { grammar: GRAMMAR }, guided_grammar: GRAMMAR },
    COLOR,
  ],
  [
    'the same schema as text and as an object',
    { guided_json: JSON.stringify(SCHEMA), json_schema: SCHEMA },
    /^\{"intent":"/,
  ],
  ['structured_outputs.structural_tag', { structured_outputs: TAG }, /^<a>(true|false)<\/a>$/],
  ['the older structural tag', { response_format: OLDER_TAG }, /^$/],
  ['guided_json', { guided_json: { const: [1] } }, /^\[1\]$/],
  ['guided_regex', { guided_regex: '(a|b){3}' }, /^[ab]{3}$/],
  ['guided_choice', { guided_choice: ['red', 'blue'] }, COLOR],
  ['guided_grammar', { guided_grammar: GRAMMAR, guided_decoding_backend: 'auto' }, COLOR],
  ['grammar', { grammar: GRAMMAR }, COLOR],
  ['json_schema', { json_schema: { enum: ['x', 'y'] } }, /^"[xy]"$/],
  ['regex', { regex: '^red$|^blue$' }, COLOR],
  ['json_object', { response_format: { type: 'json_object', schema: { const: 1 } } }, /^1$/],
];

for (const [name, fields, expected] of SPELLINGS) {
  test(`${name} constrains chats and completions`, async () => {
    const { post } = serve({ reply: () => [] });
    const body = { model: 'base', temperature: 1, seed: 3, max_tokens: 100, ...fields };
    const messages = [{ role: 'user', content: 'Hi' }];
    const chat = await readOk<ChatCompletion>(await post(URL, { ...body, messages }));
    assert.match(chat.choices[0]!.message.content!, expected);
    const text = await readOk<Completion>(await post('/v1/completions', { ...body, prompt: 'Hi' }));
    assert.match(text.choices[0]!.text, expected);
    assert.equal(text.choices[0]!.finish_reason, 'stop');
  });
}

const ONE_PART = /exactly one of json/;
const TAG_FIELD = 'structured_outputs.structural_tag';
const inStructured = (part: object) => ({ structured_outputs: part });
const REFUSED: [what: string, fields: object, param: string, message: RegExp][] = [
  ['two constraints', { regex: 'a', guided_json: {} }, 'guided_json', /be combined with regex/],
  [
    'a third constraint, after two that are the same',
    { structured_outputs: { regex: 'a' }, regex: 'a', guided_regex: 'b' },
    'guided_regex',
    /cannot be combined with structured_outputs/,
  ],
  ['two parts', inStructured({ regex: 'a', choice: ['b'] }), 'structured_outputs', ONE_PART],
  ['no part', inStructured({}), 'structured_outputs', ONE_PART],
  ['another part', inStructured({ lark: 'x' }), 'structured_outputs.lark', /not supported/],
  ['no tag', inStructured({ structural_tag: {} }), TAG_FIELD, /not a structural tag/],
  ['a choice of nothing', { guided_choice: [] }, 'guided_choice', /expected 1 to/],
  ['a lookahead', { guided_regex: 'a(?=b)' }, 'guided_regex', /lookahead/],
  ['a back reference', { regex: '(a)\\1' }, 'regex', /\\1, which is not supported/],
  ['a regex of too many characters', { regex: 'é'.repeat(19_000) }, 'regex', /too large/],
  ['a grammar without its root', { grammar: 'x ::= "a"' }, 'grammar', /"root" is missing/],
  ['an unknown rule', { grammar: 'root ::= "a"\n | y' }, 'grammar', /line 2: rule "y"/],
  ['left recursion', { grammar: 'root ::= root "a" | "b"' }, 'grammar', /left recursion/],
  ['a stray sign', { grammar: 'root ::= "a" )' }, 'grammar', /line 1: "\)" is not expected/],
  ['text that is no schema', { json_schema: '{' }, 'json_schema', /is not JSON/],
];

for (const [name, fields, param, message] of REFUSED) {
  test(`${name} is refused by the name of the field`, async () => {
    const { post, client } = serve();
    const response = await post('/v1/completions', { model: 'base', prompt: 'Hi', ...fields });
    await assertRefused(response, { status: 400, param, message });
    assert.equal((await client.stats()).steps, 0);
  });
}

test('a constraint goes with stop strings, logit_bias, bad_words, penalties, logprobs, n and seeds', async () => {
  const { post } = serve({ reply: () => [] });
  const fields = {
    regex: '[a-f ]{40}',
    n: 3,
    logit_bias: { 97: -100 },
    bad_words: ['b'],
    frequency_penalty: 1,
    repetition_penalty: 1.1,
    logprobs: true,
    top_logprobs: 2,
    stop: ['ff'],
    top_p: 0.9,
    response_format: undefined,
  };
  const read = async () => {
    const answer = await post(URL, request({}, fields));
    const { choices } = await readOk<ChatCompletion>(answer);
    return choices.map(({ message, finish_reason }) => [message.content, finish_reason]);
  };
  const first = await read();
  for (const [content] of first) {
    assert.match(content!, /^[b-f ]{0,40}$/);
    assert.doesNotMatch(content!, /\bb\b/);
  }
  assert.deepEqual(await read(), first);
});

test('a constraint that other fields leave no token for ends with an error', async () => {
  const { post } = serve({ reply: () => [] });
  const body = { model: 'base', prompt: 'Hi', regex: 'ab', max_tokens: 9 };
  for (const fields of [{ bad_words: ['ab'] }, { allowed_token_ids: [97] }, { min_tokens: 5 }]) {
    const response = await post('/v1/completions', { ...body, ...fields });
    await assertRefused(response, { status: 400, message: /No token can be generated/ });
  }
});
