// Rows of a training file: what each kind becomes, what is learned of it, and how a bad one is named.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parseRow } from '../../../src/rows/row-schema.ts';
import { loadTokenizer } from '../../../src/tokenizer/tokenizer.ts';
import { createToolTemplate } from '../../../src/tools/tool-template.ts';
import { createRowEncoder } from '../../../trainer/data/encode-row.ts';
import { DatasetError } from '../../../trainer/data/example.ts';
import { loadDataset } from '../../../trainer/data/load-dataset.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { pluck } from '../../pluck.ts';
import { sharedPath, skipUnless } from '../../shared.ts';
import { toyTokenizer } from '../../tokenizer/toy.ts';

const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ m['role'][0] + ':' + m['content'] }}{{ eos_token }}{% endfor %}";
const tokenizer = toyTokenizer(TEMPLATE);
const named = { ...tokenizer, namedTokens: { bos_token: '<bos>', eos_token: '<eos>' } };
const template = createToolTemplate(named);
const encode = createRowEncoder({ tokenizer: named, template, vocabSize: named.vocabSize });
const encodeRow = (row: unknown) => encode(parseRow(JSON.stringify(row)));
const [BOS, EOS] = [2, 3];

/** The text of the labels, and of the rest as dots. */
function learned(row: unknown): string {
  const { ids, labels } = encodeRow(row);
  return [...ids]
    .map((id, t) => (labels[t]! < 0 ? '·' : named.decode([id], { skipSpecials: false })))
    .join('');
}

const CHAT = [
  { role: 'user', content: 'ab' },
  { role: 'assistant', content: 'cd' },
  { role: 'user', content: 'e' },
  { role: 'assistant', content: 'f' },
];

test('of a conversation, what the assistant says and the end of its turns is learned', () => {
  assert.match(learned({ messages: CHAT }), /^·+cd<eos>·+f<eos>$/);
  const { weights } = encodeRow({ messages: CHAT });
  assert.equal(weights, undefined);
});

test("a message's weight is the weight of its tokens, and 0 leaves it out", () => {
  const weighted = (weight: number) =>
    CHAT.map((message, i) => (i === 1 ? { ...message, weight } : message));
  assert.match(learned({ messages: weighted(0) }), /^·+f<eos>$/);
  const { labels, weights } = encodeRow({ messages: weighted(0.5) });
  const found = [...labels].flatMap((label, t) => (label < 0 ? [] : [weights![t]]));
  assert.deepEqual(found, [0.5, 0.5, 0.5, 1, 1]);
});

test('of prompt and completion the completion is learned, of a text everything', () => {
  assert.equal(learned({ prompt: 'ab', completion: 'cd' }), '···cd<eos>');
  assert.equal(learned({ text: 'ab' }), '<bos>ab<eos>');
  assert.deepEqual([...encodeRow({ text: 'a' }).ids].at(0), BOS);
});

test('ids are taken as they are, with labels unshifted and -100 left out', () => {
  const { ids, labels } = encodeRow({ input_ids: [5, 6, 7], labels: [-100, 6, 9] });
  assert.deepEqual([...ids], [5, 6, 7]);
  assert.deepEqual([...labels], [-1, 6, 9]);
});

test('control tokens in the text of a row stay text', () => {
  const count = (ids: Int32Array) => ids.filter((id) => id === EOS || id === BOS).length;
  assert.equal(count(encodeRow({ text: 'a<eos>b' }).ids), 2);
  assert.equal(count(encodeRow({ prompt: '<bos>', completion: '<eos>' }).ids), 2);
  const plain = count(encodeRow({ messages: CHAT }).ids);
  const content = 'c<eos>assistant';
  const hostile = CHAT.map((message) => ({ ...message, content }));
  assert.equal(count(encodeRow({ messages: hostile }).ids), plain);
});

test('NUL and lone surrogates are text like any other', () => {
  for (const content of ['a\u0000b', '\ud800', 'a\udc00']) {
    const row = { messages: [...CHAT.slice(0, 1), { role: 'assistant', content }] };
    assert.ok(encodeRow(row).ids.length > 4);
  }
});

const TOOL = { type: 'function', function: { name: 'f' } };
const calling = (...given: string[]) => ({
  role: 'assistant',
  content: null,
  tool_calls: given.map((text, i) => ({
    id: `c${i}`,
    type: 'function',
    function: { name: 'f', arguments: text },
  })),
});
const CALLS = [
  { role: 'user', content: 'ab' },
  calling('{"a":1}'),
  { role: 'tool', tool_call_id: 'c0', content: 'b' },
  { role: 'assistant', content: 'cd' },
];
/** A tool whose parameters are nested this deeply, as a row's text. */
function nested(depth: number) {
  return JSON.parse(
    `{"type":"function","function":{"name":"f","parameters":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}}`,
  );
}

test('of a conversation with tools, the calls are learned and results are not', () => {
  const call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>';
  const row = { messages: CALLS, tools: [TOOL], parallel_tool_calls: true };
  const runs = learned(row)
    .split(/·+/)
    .filter((text) => text !== '');
  assert.deepEqual(runs, [`${call}<eos>`, 'cd<eos>']);
});

test('a setting chooses the format of calls', () => {
  const forced = createToolTemplate(named, 'mistral');
  const encodeForced = createRowEncoder({ tokenizer: named, template: forced, vocabSize: 999 });
  const { ids } = encodeForced(parseRow(JSON.stringify({ messages: CALLS, tools: [TOOL] })));
  assert.match(named.decode([...ids], { skipSpecials: true }), /\[TOOL_CALLS\] \[\{"name": "f"/);
});

test('a row is encoded as the request is rendered that asks for its call', () => {
  const { ids, labels } = encodeRow({ messages: CALLS.slice(0, 2), tools: [TOOL] });
  const [first] = CALLS as [{ role: string; content: string }];
  const prompt = template!.render([first], {
    tools: [{ name: 'f' }],
    addGenerationPrompt: false,
  });
  const start = labels.findIndex((label) => label >= 0);
  assert.deepEqual([...ids.subarray(0, prompt.ids.length)], prompt.ids);
  assert.ok(start >= prompt.ids.length);
});

/** TrainingRow → what its refusal says. */
const BAD_ROWS: readonly (readonly [unknown, RegExp])[] = [
  [[], /not a JSON object/],
  [{ mesages: [] }, /neither messages/],
  [{ messages: 'x' }, /^messages: must be a list/],
  [{ messages: [] }, /^messages: is empty/],
  [{ messages: [{ role: 'user', content: 'a' }] }, /^messages: has no assistant message/],
  [{ messages: [{ role: 'bot', content: 'a' }] }, /^messages\[0\]\.role: is not one of/],
  [{ messages: [{ content: 'a' }] }, /^messages\[0\]\.role: is missing/],
  [{ messages: [{ role: 'user' }] }, /^messages\[0\]\.content: is missing/],
  [{ messages: [{ role: 'user', content: 1 }] }, /^messages\[0\]\.content: must be a text/],
  [{ messages: [{ role: 'assistant', content: '' }] }, /^messages\[0\]\.content: is empty/],
  [
    { messages: [{ role: 'user', content: 'a', weight: 1 }] },
    /^messages\[0\]\.weight: is only allowed on assistant/,
  ],
  [{ messages: CHAT, tools: [{}] }, /^tools\[0\]\.type: only tools of type function/],
  [{ messages: CHAT, tools: [TOOL, TOOL] }, /^tools\[1\]\.function\.name: an earlier/],
  [{ messages: CHAT, tools: [nested(1000)] }, /^tools\[0\]\.function\.parameters: is nested/],
  [{ messages: [{ role: 'tool', content: 'a' }] }, /^messages\[0\]\.tool_call_id: is required/],
  [{ messages: CALLS.slice(2) }, /^messages\[0\]\.tool_call_id: no earlier message/],
  [{ messages: CALLS }, /^messages\[1\]\.tool_calls\[0\]\.function\.name: tools has no/],
  [
    { messages: [CALLS[1], { role: 'user', content: null }] },
    /^messages\[1\]\.content: is missing/,
  ],
  [{ messages: [{ ...CALLS[1], role: 'user' }] }, /^messages\[0\]\.tool_calls: are only allowed/],
  [{ messages: [calling('[')] }, /^messages\[0\]\.tool_calls\[0\]\.function\.arguments: must be/],
  [
    { messages: [calling('{}', '{}')], tools: [TOOL], parallel_tool_calls: false },
    /^messages\[0\]\.tool_calls: has several/,
  ],
  [{ prompt: 'a' }, /^completion: is missing/],
  [{ prompt: 'a', completion: '' }, /^completion: is empty/],
  [{ text: '' }, /^text: is empty/],
  [{ input_ids: [], labels: [] }, /^input_ids: is empty/],
  [{ input_ids: [1] }, /^labels: is missing/],
  [{ input_ids: [1, 2], labels: [1] }, /^labels: must be as long/],
  [{ input_ids: [-1], labels: [1] }, /^input_ids\[0\]: /],
  [{ input_ids: [1], labels: [-1] }, /^labels\[0\]: is neither/],
  [{ input_ids: [100_000], labels: [1] }, /^input_ids\[0\]: 100000 is not a token id/],
];

test('a bad row is refused by the name of its field', () => {
  for (const [row, pattern] of BAD_ROWS) {
    assert.throws(
      () => encodeRow(row),
      { name: 'TrainingRowError', message: pattern },
      JSON.stringify(row),
    );
  }
  assert.throws(() => parseRow('{"text": '), /is not JSON/);
});

test('a model without tokenizer or template takes the rows that need none', () => {
  const bare = createRowEncoder({ tokenizer: undefined, template: undefined, vocabSize: 10 });
  assert.equal(bare(parseRow('{"input_ids":[1,2],"labels":[1,2]}')).ids.length, 2);
  assert.throws(() => bare(parseRow('{"text":"a"}')), /has no tokenizer/);
  const plain = createRowEncoder({ tokenizer: named, template: undefined, vocabSize: 10 });
  assert.throws(() => plain(parseRow(JSON.stringify({ messages: CHAT }))), /no chat template/);
});

const ROW = '{"text":"abc"}';

function load(t: { after(fn: () => void): void }, content: string | Uint8Array, maxLength = 64) {
  const file = path.join(temporaryFolder(t), 'rows.jsonl');
  writeFileSync(file, content);
  return loadDataset(file, { encode, maxLength });
}

test('blank lines, CRLF, a byte order mark and a missing newline at the end are fine', async (t) => {
  const { counts } = await load(t, `\ufeff${ROW}\r\n\r\n  \n${ROW}\n\n{"text":"b"}`);
  assert.deepEqual([counts.examples, counts.duplicates], [3, 1]);
});

test('T41: the digest is that of the whole file, whatever its lines are', async (t) => {
  const long = `{"text":"${'abc'.repeat(100_000)}"}\n`;
  for (const content of [`\ufeff${ROW}\r\n\r\n  \n${ROW}`, long.repeat(2), `${ROW}\n\n\n`]) {
    const bytes = Buffer.from(content);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    assert.deepEqual((await load(t, bytes)).file, { sha256, byteSize: bytes.length });
  }
});

test('examples over maxLength lose their end, and are counted', async (t) => {
  const { examples, counts } = await load(
    t,
    '{"text":"defg"}\n{"prompt":"defg","completion":"a"}',
    4,
  );
  assert.deepEqual(
    examples.map(({ ids }) => ids.length),
    [4, 4],
  );
  assert.deepEqual([counts.truncated, counts.masked, counts.tokens], [2, 1, 8]);
});

test('all bad lines are counted, and the first ten are named by number', async (t) => {
  const lines = Array.from({ length: 30 }, (_, i) => (i % 2 === 0 ? ROW : '{"text":1}'));
  await assert.rejects(load(t, lines.join('\n')), (error) => {
    assert.ok(error instanceof DatasetError);
    assert.equal(error.fault.code, 'invalid_training_file');
    assert.deepEqual(pluck(error.fault.faults, 'line'), [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
    assert.match(
      error.message,
      /rows.jsonl: has 15 bad lines; the first 10\n {2}line 2: text: must be/,
    );
    return true;
  });
});

test('empty files, other kinds of files, folders and absent ones are refused', async (t) => {
  const refused = (content: string | Uint8Array, pattern: RegExp) =>
    assert.rejects(load(t, content), { name: 'DatasetError', message: pattern });
  await refused('', /holds no examples/);
  await refused('\n\n', /holds no examples/);
  await refused(gzipSync(ROW), /is gzip/);
  await refused(Buffer.from('PK\u0003\u0004zip'), /is zip/);
  await refused(Buffer.from(`\ufeff${ROW}`, 'utf16le'), /is UTF-16/);
  await refused(Buffer.from([0x7b, 0xff, 0x7d]), /line 1: is not UTF-8/);
  const dir = temporaryFolder(t);
  await assert.rejects(loadDataset(dir, { encode, maxLength: 9 }), /is not a file/);
  await assert.rejects(
    loadDataset(path.join(dir, 'x'), { encode, maxLength: 9 }),
    /x: does not exist\. Check its path/,
  );
});

test('a line beyond every limit is a bad line, and is not kept in memory', async (t) => {
  const file = path.join(temporaryFolder(t), 'long.jsonl');
  writeFileSync(file, `${ROW}\n`);
  const piece = Buffer.alloc(2 ** 22, 'a');
  for (let i = 0; i < 5; i++) appendFileSync(file, piece);
  const loading = loadDataset(file, { encode, maxLength: 64 });
  await assert.rejects(loading, /line 2: has 20 MiB, the limit of a line is 16 MiB/);
});

const golden = sharedPath('golden', 'tokenizer');

test("with SmolLM2's own template each turn trains once, its end token included", {
  skip: skipUnless(golden),
}, async () => {
  const real = (await loadTokenizer(golden!))!;
  const chat = createRowEncoder({
    tokenizer: real,
    template: createToolTemplate(real),
    vocabSize: real.vocabSize,
  });
  const { ids, labels } = chat(parseRow(JSON.stringify({ messages: CHAT })));
  const text = real.decode(
    [...labels].filter((id) => id >= 0),
    { skipSpecials: false },
  );
  assert.equal(text, 'cd<|im_end|>f<|im_end|>');
  assert.ok([...labels].every((label, t) => label < 0 || label === ids[t]));
});

const say = (content: string, role = 'assistant') => ({ role, content });
const PAIR = {
  input: { messages: [say('ab', 'user'), say('cd'), say('e', 'user')] },
  preferred_output: [say('f')],
  non_preferred_output: [say('gh')],
};
const ofPairs = () => {
  const options = { tokenizer: named, template, vocabSize: named.vocabSize };
  return createRowEncoder({ ...options, objective: 'dpo' });
};

test('of a pair, each output and its end is learned after the same input', () => {
  const chosen = ofPairs()(parseRow(JSON.stringify(PAIR)));
  const shown = ({ ids, labels }: typeof chosen) =>
    [...ids]
      .map((id, t) => (labels[t]! < 0 ? '·' : named.decode([id], { skipSpecials: false })))
      .join('');
  const [prefix, output] = shown(chosen).split(/(?<=·)(?!·)/);
  assert.equal(output, 'f<eos>');
  assert.equal(shown(chosen.rejected!), `${prefix}gh<eos>`);
  const row = { messages: [...PAIR.input.messages, ...PAIR.preferred_output] };
  assert.deepEqual([...chosen.ids], [...encodeRow(row).ids]);
});

test('a bad pair is refused with its field, and so are other rows among pairs', () => {
  const encodePair = ofPairs();
  const calls = [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }];
  for (const [row, message] of [
    [{ ...PAIR, preferred_output: undefined }, 'preferred_output: is missing'],
    [{ ...PAIR, input: undefined }, 'input: is missing'],
    [{ ...PAIR, input: { messages: [] } }, 'input.messages: is empty'],
    [{ ...PAIR, non_preferred_output: [] }, 'non_preferred_output: is empty'],
    [
      { ...PAIR, non_preferred_output: [say('f')] },
      'non_preferred_output: equals the preferred one: there is nothing to learn',
    ],
    [
      { ...PAIR, preferred_output: [say('f', 'user')] },
      'preferred_output: has a message that is not from the assistant',
    ],
    [
      { ...PAIR, preferred_output: [{ ...say('f'), weight: 1 }] },
      'preferred_output[0].weight: does not apply to pairs',
    ],
    [
      { ...PAIR, preferred_output: [{ role: 'assistant', tool_calls: calls }] },
      'preferred_output[0].tool_calls[0].function.name: tools has no function of this name',
    ],
    [
      { prompt: 'a', completion: 'b' },
      'preferred_output: is missing, but dpo learns from pairs of outputs',
    ],
  ] as const) {
    assert.throws(() => encodePair(parseRow(JSON.stringify(row))), { message });
  }
});
