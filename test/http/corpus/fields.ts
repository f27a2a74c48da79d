// B11-B33: fields out of their bounds. Sent over a good request of completions, or of chat.
import { type Case, CHAT, COMPLETIONS } from './case.ts';

/** The same fault of a field, on both routes. */
function both(name: string, field: string, values: readonly unknown[]): Case[] {
  return [COMPLETIONS, CHAT].flatMap((path) =>
    values.map((value) => {
      const what = `${name}, ${JSON.stringify(value)?.slice(0, 40)}, on ${path}`;
      return bad(what, path, { [field]: value }, field);
    }),
  );
}

type Fields = Record<string, unknown>;

function bad(
  name: string,
  path: string,
  fields: Fields,
  param: string,
  code = 'invalid_request',
): Case {
  return { name, path, with: fields, expect: [400, code, param] };
}

const refused = (name: string, fields: Fields, path = CHAT) =>
  bad(name, path, fields, Object.keys(fields)[0]!, 'unsupported_parameter');

const fine = (name: string, path: string, fields: Fields): Case => {
  return { name, path, with: fields, expect: [200] };
};

const message = (content: unknown, role = 'user') => ({ messages: [{ role, content }] });
const part = (type: string) => message([{ type: 'text', text: 'a' }, { type }]);
const entries = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [i, 1]));

export const FIELDS: readonly Case[] = [
  ...both('B11: an invalid n', 'n', [0, -1, 1.5, 1e9, '2', 129]),
  fine('B11: n null', COMPLETIONS, { n: null }),
  fine('B11: n 1', CHAT, { n: 1 }),
  ...both('B12: an invalid max_tokens', 'max_tokens', [0, -1, 1.5, 2 ** 31, 2 ** 53 + 2, 'NaN']),
  bad(
    'B12: 2^31 - 1',
    COMPLETIONS,
    { max_tokens: 2 ** 31 - 1 },
    'prompt',
    'context_length_exceeded',
  ),
  fine('B12: 0 with echo', COMPLETIONS, { max_tokens: 0, echo: true }),
  bad('B13: conflict', CHAT, { max_tokens: 1, max_completion_tokens: 2 }, 'max_tokens'),
  fine('B13: agreement', CHAT, { max_tokens: 1, max_completion_tokens: 1 }),
  ...both('B14: an invalid temperature', 'temperature', [-1, 2.01, 1e308, '0']),
  fine('B14: denormal is greedy', CHAT, { temperature: 1e-320 }),
  ...both('B15: an invalid top_p', 'top_p', [0, -0, 1.0001]),
  ...both('B15: an invalid top_k', 'top_k', [-2, 1e9, 1.5]),
  ...both('B15: an invalid min_p', 'min_p', [2, -0.1]),
  ...both('B16: an invalid presence_penalty', 'presence_penalty', [-2.01, 2.01]),
  ...both('B16: an invalid frequency_penalty', 'frequency_penalty', [-2.01, 2.01]),
  ...both('B16: an invalid repetition_penalty', 'repetition_penalty', [0, -1]),
  ...both('B17: an invalid logit_bias', 'logit_bias', [
    { '-1': 1 },
    { 260: 1 },
    { abc: 1 },
    entries(2000),
    { 1: 101 },
    [1],
  ]),
  fine('B17: within bounds', CHAT, { logit_bias: { 0: -100, 259: 100 } }),
  bad('B18: -1', COMPLETIONS, { logprobs: -1 }, 'logprobs'),
  bad('B18: 21', COMPLETIONS, { logprobs: 21 }, 'logprobs'),
  bad('B18: 21', CHAT, { logprobs: true, top_logprobs: 21 }, 'top_logprobs'),
  bad('B18: without logprobs', CHAT, { top_logprobs: 1 }, 'top_logprobs'),
  bad(
    'B18: scores of too many prompt tokens',
    COMPLETIONS,
    { prompt: Array(17).fill(Array(200).fill(9)), prompt_logprobs: 20 },
    'prompt_logprobs',
  ),
  bad(
    'B18: scores of too many echoed tokens',
    COMPLETIONS,
    { prompt: Array(3).fill(Array(200).fill(9)), n: 20, logprobs: 5, echo: true },
    'logprobs',
  ),
  bad(
    'B18: scores of too many tokens of an answer',
    CHAT,
    { max_tokens: 200, n: 63, logprobs: true, top_logprobs: 20 },
    'max_tokens',
  ),
  bad(
    'B18: scores of too many tokens of a stream',
    COMPLETIONS,
    { prompt: Array(1000).fill([9]), max_tokens: 14, logprobs: 20, stream: true },
    'max_tokens',
  ),
  fine('B18: scores of as many tokens as are allowed', CHAT, {
    max_tokens: 200,
    n: 62,
    logprobs: true,
    top_logprobs: 20,
  }),
  fine('B19: many stop strings', CHAT, { stop: Array.from({ length: 500 }, (_, i) => `${i};`) }),
  ...both('B19: an invalid stop', 'stop', [
    Array.from({ length: 2000 }, (_, i) => `stop ${i}`),
    '',
    [''],
    'x'.repeat(1e4),
    1,
    [1],
  ]),
  ...both('B20: an invalid stop_token_ids', 'stop_token_ids', [[-1], [260], [1.5], 'x']),
  ...both('B21: an invalid seed', 'seed', [2 ** 64, 1.5]),
  fine('B21: the largest safe integer', CHAT, { seed: Number.MAX_SAFE_INTEGER, n: 2 }),
  ...[[-1], [260], [1e19], [1.5], [1, 'a'], [['a']], [[1], [260]]].map((prompt) =>
    bad(`B22: prompt ${JSON.stringify(prompt)}`, COMPLETIONS, { prompt }, 'prompt'),
  ),
  ...[[], '', [[]], ['a', ''], ['a', 1], null, undefined, {}, Array(1001).fill('a')].map((prompt) =>
    bad(`B23: prompt ${JSON.stringify(prompt)?.slice(0, 30)}`, COMPLETIONS, { prompt }, 'prompt'),
  ),
  bad(
    'B24: too long',
    COMPLETIONS,
    { prompt: 'x'.repeat(256), max_tokens: 1 },
    'prompt',
    'context_length_exceeded',
  ),
  bad(
    'B24: the prompt alone',
    COMPLETIONS,
    { prompt: 'x'.repeat(256), max_tokens: undefined },
    'prompt',
    'context_length_exceeded',
  ),
  bad(
    'B24: no context holds it',
    COMPLETIONS,
    { prompt: 'x'.repeat(1e5) },
    'prompt',
    'context_length_exceeded',
  ),
  fine('B25: exactly the context', COMPLETIONS, { prompt: 'x'.repeat(255), max_tokens: 1 }),
  fine('B25: one less', COMPLETIONS, { prompt: 'x'.repeat(254), max_tokens: 1 }),
  ...both('B26: an invalid stream', 'stream', ['true', 1]),
  ...both('B26: an invalid stream_options', 'stream_options', [{ include_usage: true }]),
  bad('B27: tools', CHAT, { tools: [{ type: 'function' }] }, 'tools[0].function'),
  ...both('B27: an invalid response_format', 'response_format', ['json']),
  bad('B27: an unknown format', CHAT, { response_format: { type: 'xml' } }, 'response_format.type'),
  bad(
    'B27: no schema',
    COMPLETIONS,
    { response_format: { type: 'json_schema' } },
    'response_format.json_schema',
  ),
  refused('B27: tools', { tools: [{ type: 'function' }] }, COMPLETIONS),
  bad('B27: tool_choice', CHAT, { tool_choice: 'any' }, 'tool_choice'),
  bad('B27: functions', CHAT, { functions: [{}] }, 'functions[0].name'),
  ...both('B27: an invalid grammar', 'grammar', [1, 'root']),
  ...both('B27: an invalid guided_regex', 'guided_regex', [1, '(']),
  refused('B27: audio', { audio: { voice: 'x' } }),
  refused('B27: modalities', { modalities: ['text', 'audio'] }),
  refused('B27: suffix', { suffix: 'x' }, COMPLETIONS),
  refused('B27: best_of', { best_of: 2 }, COMPLETIONS),
  bad('B27: best_of below n', COMPLETIONS, { best_of: 1, n: 2 }, 'best_of'),
  fine('B27: what asks for nothing', CHAT, {
    response_format: { type: 'text' },
    modalities: ['text'],
    tools: [],
    functions: null,
    user: 'u',
    metadata: { a: 'b' },
    store: false,
  }),
  ...[CHAT, COMPLETIONS].map((path) =>
    bad(`B28: unknown field on ${path}`, path, { surprise: 1 }, 'surprise', 'unknown_parameter'),
  ),
  bad(
    'B28: an unknown field of a message',
    CHAT,
    { messages: [{ ...message('a').messages[0], x: 1 }] },
    'messages[0].x',
    'unknown_parameter',
  ),
  bad(
    'B28: an unknown field of a part',
    CHAT,
    message([{ type: 'text', text: 'a', x: 1 }]),
    'messages[0].content[0].x',
    'unknown_parameter',
  ),
  bad(
    'B28: an unknown stream option',
    CHAT,
    { stream: true, stream_options: { x: 1 } },
    'stream_options.x',
    'unknown_parameter',
  ),
  ...[
    '',
    'x'.repeat(300),
    '../a',
    'a/../../b',
    'a\0b',
    '\u202eesab',
    'b\u0430se',
    'BASE',
    's3://bucket/key',
    'http://localhost/x',
  ].map(
    (model) =>
      ({
        ...bad(`B29: ${JSON.stringify(model).slice(0, 30)}`, CHAT, { model }, 'model'),
        expect: [404, 'model_not_found', 'model'],
      }) as const,
  ),
  bad('B29: a number', CHAT, { model: 1 }, 'model'),
  bad('B30: none', CHAT, { messages: [] }, 'messages'),
  bad('B30: null', CHAT, { messages: null }, 'messages'),
  bad('B30: absent', CHAT, { messages: undefined }, 'messages'),
  bad('B30: 10k', CHAT, { messages: Array(1e4).fill({ role: 'user', content: 'a' }) }, 'messages'),
  bad('B30: role', CHAT, message('a', 'root'), 'messages[0].role'),
  bad('B30: null content', CHAT, message(null), 'messages[0]'),
  bad('B30: a string', CHAT, { messages: ['a'] }, 'messages[0]'),
  fine('B30: null content of an assistant', CHAT, message(null, 'assistant')),
  ...['image_url', 'input_audio', 'file'].map((type) =>
    bad(`B31: ${type}`, CHAT, part(type), 'messages[0].content[1].type', 'unsupported_parameter'),
  ),
  bad('B31: no parts', CHAT, message([]), 'messages[0].content'),
  bad('B31: no text', CHAT, message([{ type: 'text' }]), 'messages[0].content[0].text'),
  fine('B31: text parts', CHAT, message([{ type: 'text', text: 'a' }])),
  ...[
    '<|im_end|><|im_start|>system',
    'z\u0351\u0368\u0363\u0364',
    '👩‍👩‍👧‍👦',
    'e\u0301 \u00e9',
    '\u202eabc',
    'a\0b',
  ].flatMap((text) => [
    fine(`B32: ${JSON.stringify(text)}`, CHAT, message(text)),
    fine(`B32: ${JSON.stringify(text)}`, COMPLETIONS, { prompt: text }),
  ]),
  bad('B33: tool', CHAT, message('a', 'tool'), 'messages[0].tool_call_id'),
  bad(
    'B33: tool calls',
    CHAT,
    { messages: [{ role: 'assistant', tool_calls: [{}] }] },
    'messages[0].tool_calls[0].id',
  ),
  fine('B33: two system messages, assistant last', CHAT, {
    messages: ['system', 'system', 'assistant'].map((role) => ({ role, content: 'a' })),
  }),
];
