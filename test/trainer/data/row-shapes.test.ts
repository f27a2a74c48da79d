// Rows in the forms of other trainers: each becomes the row of ours that its documentation means, and every file format is read.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import Papa from 'papaparse';
import { splitElements, splitRecords } from '../../../src/rows/lines.ts';
import { ParquetError, readParquet, readRows } from '../../../src/rows/row-file.ts';
import { parseRow, RowNotes } from '../../../src/rows/row-schema.ts';
import { createToolTemplate } from '../../../src/tools/tool-template.ts';
import { createRowEncoder } from '../../../trainer/data/encode-row.ts';
import { loadDataset } from '../../../trainer/data/load-dataset.ts';
import { temporaryFolder } from '../../fixtures.ts';
import { toyTokenizer } from '../../tokenizer/toy.ts';

const say = (role: string, content: string) => ({ role, content });
const user = (content: string) => say('user', content);
const assistant = (content: string) => say('assistant', content);
const SKY = [user('What color is the sky?'), assistant('It is blue.')];
const GREEN = assistant('It is green.');

const parse = (row: unknown) => parseRow(JSON.stringify(row));
const chat = (...messages: unknown[]) => ({ messages });
const pair = (messages: unknown[], preferred: unknown, other: unknown) => ({
  input: { messages },
  preferred_output: [preferred],
  non_preferred_output: [other],
});

/** A row of another trainer, and the row in OpenAI's form, or one of ours, that means the same. */
const EQUAL_ROWS: Readonly<Record<string, readonly [given: unknown, same: unknown]>> = {
  ShareGPT: [
    {
      conversations: [
        { from: 'system', value: 'Be brief.' },
        { from: 'human', value: 'Hi' },
        { from: 'gpt', value: 'Hello' },
      ],
    },
    chat(say('system', 'Be brief.'), user('Hi'), assistant('Hello')),
  ],
  'ShareGPT with roles and a system column': [
    { conversations: SKY, system: 'Be brief.' },
    chat(say('system', 'Be brief.'), ...SKY),
  ],
  "axolotl's train leaves an answer out": [
    {
      conversations: [
        { from: 'human', value: 'Hi', train: true },
        { from: 'gpt', value: 'Hello', train: false },
        { from: 'human', value: 'And?' },
        { from: 'gpt', value: 'Bye', train: true },
      ],
    },
    chat(user('Hi'), { ...assistant('Hello'), weight: 0 }, user('And?'), assistant('Bye')),
  ],
  "LLaMA-Factory's calls": [
    {
      conversations: [
        { from: 'human', value: 'How old?' },
        { from: 'function_call', value: '{"name": "age", "arguments": {"of": "Ada"}}' },
        { from: 'observation', value: '36' },
        { from: 'gpt', value: 'Ada is 36.' },
      ],
      tools: '[{"name": "age", "parameters": {"type": "object"}}]',
    },
    {
      messages: [
        user('How old?'),
        {
          role: 'assistant',
          tool_calls: [
            {
              id: 'call_1_0',
              type: 'function',
              function: { name: 'age', arguments: '{"of":"Ada"}' },
            },
          ],
        },
        { role: 'tool', tool_call_id: 'call_1_0', content: '36' },
        assistant('Ada is 36.'),
      ],
      tools: [{ type: 'function', function: { name: 'age', parameters: { type: 'object' } } }],
    },
  ],
  "TRL's calls": [
    {
      messages: [
        user('Turn on the living room lights.'),
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            {
              type: 'function',
              function: { name: 'control_light', arguments: { room: 'living room', state: 'on' } },
            },
          ],
        },
        { role: 'tool', name: 'control_light', content: 'They are on.' },
        assistant('Done!'),
      ],
      tools: [
        { type: 'function', function: { name: 'control_light', return: { type: 'string' } } },
      ],
    },
    {
      messages: [
        user('Turn on the living room lights.'),
        {
          role: 'assistant',
          tool_calls: [
            {
              id: 'call_1_0',
              type: 'function',
              function: { name: 'control_light', arguments: '{"room":"living room","state":"on"}' },
            },
          ],
        },
        { role: 'tool', name: 'control_light', tool_call_id: 'call_1_0', content: 'They are on.' },
        assistant('Done!'),
      ],
      tools: [{ type: 'function', function: { name: 'control_light' } }],
    },
  ],
  Alpaca: [
    { instruction: 'Add.', input: '1 and 2', output: '3' },
    chat(user('Add.\n1 and 2'), assistant('3')),
  ],
  'Alpaca without input': [
    { instruction: 'Say hi.', input: '', output: 'Hi', system: '' },
    chat(user('Say hi.'), assistant('Hi')),
  ],
  'Alpaca with system and history': [
    { instruction: 'And?', output: 'Bye', system: 'Be brief.', history: [['Hi', 'Hello']] },
    chat(
      say('system', 'Be brief.'),
      user('Hi'),
      assistant('Hello'),
      user('And?'),
      assistant('Bye'),
    ),
  ],
  'prompt and completion as messages': [
    { prompt: [user('Hi'), assistant('Hello'), user('And?')], completion: [assistant('Bye')] },
    chat(user('Hi'), { ...assistant('Hello'), weight: 0 }, user('And?'), assistant('Bye')),
  ],
  'preferences as messages': [
    { prompt: SKY.slice(0, 1), chosen: SKY.slice(1), rejected: [GREEN] },
    pair(SKY.slice(0, 1), SKY[1], GREEN),
  ],
  'preferences with an implicit prompt': [
    { chosen: SKY, rejected: [SKY[0], GREEN] },
    pair(SKY.slice(0, 1), SKY[1], GREEN),
  ],
  'preferences that repeat the prompt as text': [
    { prompt: 'What color is the sky?', chosen: SKY, rejected: [SKY[0], GREEN], score: 1 },
    pair(SKY.slice(0, 1), SKY[1], GREEN),
  ],
  "axolotl's preferences": [
    { messages: SKY.slice(0, 1), chosen: SKY[1], rejected: GREEN },
    pair(SKY.slice(0, 1), SKY[1], GREEN),
  ],
  "axolotl's preferences with a question": [
    { system: 'Be brief.', question: 'Sky?', chosen: 'Blue', rejected: 'Green' },
    pair([say('system', 'Be brief.'), user('Sky?')], assistant('Blue'), assistant('Green')),
  ],
  "LLaMA-Factory's preferences": [
    {
      conversations: [{ from: 'human', value: 'Sky?' }],
      chosen: { from: 'gpt', value: 'Blue' },
      rejected: { from: 'gpt', value: 'Green' },
    },
    pair([user('Sky?')], assistant('Blue'), assistant('Green')),
  ],
  "LLaMA-Factory's Alpaca preferences": [
    { instruction: 'Sky?', input: 'Today', chosen: 'Blue', rejected: 'Green' },
    pair([user('Sky?\nToday')], assistant('Blue'), assistant('Green')),
  ],
  'preferences in text with an implicit prompt': [
    { chosen: 'The sky is blue.', rejected: 'The sky is green.' },
    { prompt: 'The sky is', chosen: ' blue.', rejected: ' green.' },
  ],
  'preferences in text whose difference is inside a word': [
    { chosen: 'Yes', rejected: 'Yet' },
    { prompt: '', chosen: 'Yes', rejected: 'Yet' },
  ],
  'preferences in text of which one begins the other': [
    { chosen: 'H: hi A: yes', rejected: 'H: hi A: yes sir' },
    { prompt: 'H: hi A:', chosen: ' yes', rejected: ' yes sir' },
  ],
  'texts that are JSON are texts': [
    { question: 'Give JSON.', chosen: '{"a":1}', rejected: '[2]' },
    pair([user('Give JSON.')], assistant('{"a":1}'), assistant('[2]')),
  ],
  "OpenAI's preferences with fields without a value": [
    {
      input: { messages: [{ ...SKY[0], name: null }], tools: null },
      preferred_output: [{ ...SKY[1], weight: null }],
      non_preferred_output: [GREEN],
    },
    pair(SKY.slice(0, 1), SKY[1], GREEN),
  ],
  'token ids as texts of JSON': [
    { input_ids: '[1, 2]', labels: '[1, -100]' },
    { input_ids: [1, 2], labels: [1, -100] },
  ],
  'cells of a table that hold JSON': [{ messages: JSON.stringify(SKY), tools: '' }, chat(...SKY)],
  'fields without a value': [
    { messages: SKY.map((message) => ({ ...message, name: null, tool_calls: null })), tools: null },
    chat(...SKY),
  ],
  'text parts': [
    chat(
      {
        role: 'user',
        content: [
          { type: 'text', text: 'H' },
          { type: 'text', text: 'i' },
        ],
      },
      SKY[1],
    ),
    chat(user('Hi'), SKY[1]),
  ],
};

for (const [name, [given, same]] of Object.entries(EQUAL_ROWS)) {
  test(`${name}: the row is read as the one that means the same`, () => {
    assert.deepEqual(parse(given), parse(same));
  });
}

test('a pair of texts is learned without a template, each text after the prompt', () => {
  const tokenizer = toyTokenizer();
  const encode = createRowEncoder({ tokenizer, vocabSize: tokenizer.vocabSize, objective: 'dpo' });
  const plain = createRowEncoder({ tokenizer, vocabSize: tokenizer.vocabSize });
  const { rejected, ...chosen } = encode(parse({ prompt: 'ab', chosen: 'cd', rejected: 'e' }));
  assert.deepEqual(chosen, plain(parse({ prompt: 'ab', completion: 'cd' })));
  assert.deepEqual(rejected, plain(parse({ prompt: 'ab', completion: 'e' })));
});

test('for reinforcement, the prompt may be a text or a column of messages', () => {
  for (const prompt of ['Sky?', [user('Sky?')]]) {
    const row = parseRow(JSON.stringify({ prompt, answer: 'blue' }), {
      objective: 'reinforcement',
    });
    assert.equal(row.kind, 'prompt');
    assert.deepEqual(row.kind === 'prompt' && row.messages, [user('Sky?')]);
    assert.deepEqual(row.kind === 'prompt' && row.item, { prompt, answer: 'blue' });
  }
});

const BAD_ROWS: readonly (readonly [unknown, RegExp])[] = [
  [{ conversations: 'x' }, /^conversations: must be a list/],
  [{ conversations: [{ from: 'bot', value: 'a' }] }, /^conversations\[0\]\.from: is not one of/],
  [{ conversations: [{ from: 'human', value: 'a' }] }, /^conversations: has no assistant/],
  [
    {
      system: 'a',
      conversations: [
        { from: 'human', value: 1 },
        { from: 'gpt', value: 'b' },
      ],
    },
    /^conversations\[0\]\.value: must be a text/,
  ],
  [{ instruction: 'a' }, /^output: is missing/],
  [{ instruction: 1, output: 'a' }, /^instruction: must be a text/],
  [{ instruction: 'a', output: 'b', kto_tag: false }, /^kto_tag: ratings of single/],
  [{ prompt: 'a', completion: 'b', label: false }, /^label: ratings of single/],
  [{ prompt: 'a', completion: 'b', label: 'False' }, /^label: ratings of single/],
  [{ ...chat(...SKY), label: 0 }, /^label: ratings of single/],
  [{ conversations: SKY, kto_tag: true }, /^kto_tag: ratings of single/],
  [
    { conversations: [{ from: 'constructor', value: 'a' }] },
    /^conversations\[0\]\.from: is not one of/,
  ],
  [
    { conversations: [{ from: { toString: 1 }, value: 'a' }] },
    /^conversations\[0\]\.from: is not one of/,
  ],
  [
    { prompt: 'a', chosen: [{ from: 'bot', value: 'b' }], rejected: [GREEN] },
    /^chosen\[0\]\.from: is not one of/,
  ],
  [
    { instruction: 'a', output: 'b', system: 's', history: [['c', 'd'], ['e']] },
    /^history\[1\]\[1\]: is missing/,
  ],
  [{ instruction: 'a', input: 5, output: 'b' }, /^input: must be a text/],
  [{ instruction: 'a', output: 'b', system: 5 }, /^system: must be a text/],
  [{ instruction: 'a', output: 'b', history: 'x' }, /^history: must be a list of pairs/],
  [
    { instruction: 'a', output: 'b', history: [['x', 'y', 'z']] },
    /^history\[0\]: must be a question/,
  ],
  [
    { conversations: [{ from: 'gpt', value: 'a', train: 'false' }] },
    /^conversations\[0\]\.train: must be true or false/,
  ],
  [{ chosen: 'a' }, /^rejected: is missing/],
  [{ prompt: 'a', chosen: 5, rejected: 'a' }, /^chosen: must be a text, or a list/],
  [{ prompt: 'a', chosen: [GREEN], rejected: [] }, /^rejected: is missing or empty/],
  [{ question: 5, chosen: 'a', rejected: 'b' }, /^question: must be a text, or a list/],
  [{ text: 'a', x: JSON.parse('['.repeat(2000) + ']'.repeat(2000)) }, /^is nested deeper than/],
  [{ prompt: [user('a')], completion: [user('b')] }, /^prompt: has no assistant message/],
  [
    { prompt: [user('a')], completion: [{ role: 'assistant', content: 1 }] },
    /^completion\[0\]\.content/,
  ],
  [{ prompt: 'a', chosen: 'b' }, /^rejected: /],
  [{ prompt: 'a', chosen: 'b', rejected: 'b' }, /^rejected: equals the preferred one/],
  [
    { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
    /content: must be a text, or a/,
  ],
  [chat({ ...user('a'), reasoning_content: 'b' }, SKY[1]), /reasoning_content: is only allowed/],
];

test('a bad row of another form is refused by the name of the field that the user wrote', () => {
  for (const [row, message] of BAD_ROWS) {
    assert.throws(() => parse(row), { name: 'TrainingRowError', message }, JSON.stringify(row));
  }
});

test('the form of the rows and the keys that nothing reads are noted, and lose no row', () => {
  const notes = new RowNotes();
  const rows = [
    { messages: SKY.map((message) => ({ ...message, audio: 1 })), source: 'web', id: 3 },
    { messages: SKY, tools: [{ type: 'function', function: { name: 'f', return: 1 } }], id: 4 },
    { text: 'a', meta: {} },
  ];
  for (const row of rows) parseRow(JSON.stringify(row), { notes });
  assert.deepEqual([...notes.shapes], ["OpenAI's chat (messages)", 'text']);
  const names = ['id', 'messages[].audio', 'meta', 'source', 'tools[].function.return'];
  assert.deepEqual([...notes.unknown].sort(), names);
});

test('long and strange names of unknown keys are shortened and made printable', () => {
  const notes = new RowNotes();
  parseRow(JSON.stringify({ text: 'a', [`\u001b${'k'.repeat(1000)}`]: 1 }), { notes });
  const [name] = notes.unknown;
  assert.ok(name!.length <= 64 && !name!.includes('\u001b'), name);
});

const THINKING =
  "{% for m in messages %}{{ m['role'][0] + ':' }}{% if m.reasoning_content %}{{ '(' + m.reasoning_content + ')' }}" +
  "{% endif %}{{ m['content'] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'a:' }}{% endif %}";

test('thoughts are learned with the answer if the template shows them', () => {
  const learned = (template: string) => {
    const tokenizer = {
      ...toyTokenizer(template),
      namedTokens: { bos_token: '<bos>', eos_token: '<eos>' },
    };
    const { vocabSize } = tokenizer;
    const encode = createRowEncoder({
      tokenizer,
      template: createToolTemplate(tokenizer),
      vocabSize,
    });
    const thoughtful = { ...assistant('cd'), reasoning_content: 'b' };
    const { ids, labels } = encode(parse(chat(user('a'), thoughtful)));
    return tokenizer.decode(
      [...ids].filter((_, t) => labels[t]! >= 0),
      { skipSpecials: true },
    );
  };
  assert.equal(learned(THINKING), '(b)cd');
  const silent = THINKING.replace(/\{% if m\.r.*?endif %\}/u, '');
  assert.equal(learned(silent), 'cd');
});

const ROWS = [
  { prompt: 'a, b', completion: 'say "hi"' },
  { prompt: 'two\nlines', completion: 'ü' },
  { prompt: '[{', completion: '\\"]},' },
];
const FORMATS: Readonly<Record<string, string>> = {
  'JSON lines': ROWS.map((row) => JSON.stringify(row)).join('\n'),
  'a JSON list': JSON.stringify(ROWS),
  'a JSON list in many lines': `\ufeff\n ${JSON.stringify(ROWS, null, 2)}\n`,
  CSV: Papa.unparse(ROWS, { newline: '\n' }),
  'CSV with semicolons and CRLF': `\ufeff${Papa.unparse(ROWS, { delimiter: ';' })}\r\n\r\n`,
  tabs: Papa.unparse(ROWS, { delimiter: '\t', newline: '\n' }),
};

async function textsOf(lines: AsyncIterable<{ text: string | undefined }>) {
  const texts: (string | undefined)[] = [];
  for await (const { text } of lines) texts.push(text);
  return texts;
}

function chunksOf(content: string | Uint8Array, size: number): Readable {
  const bytes = Buffer.from(content as string);
  const starts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => i * size);
  return Readable.from(starts.map((at) => bytes.subarray(at, at + size)));
}

for (const [format, content] of Object.entries(FORMATS)) {
  test(`${format}: every row is read, wherever the chunks end`, async () => {
    for (const size of [1, 2, 3, 7, 4096]) {
      const texts = await textsOf(readRows(chunksOf(content, size)));
      assert.deepEqual(
        texts.map((text) => JSON.parse(text!)),
        ROWS,
        `chunks of ${size}`,
      );
    }
  });
}

test('a row that cannot be read is named by its line, or by its number in a list', async () => {
  const faultsOf = async (content: string) => {
    const faults: [number, string | undefined][] = [];
    for await (const { number, fault } of readRows(chunksOf(content, 5))) {
      if (fault !== undefined) faults.push([number, fault]);
    }
    return faults;
  };
  assert.deepEqual(await faultsOf('prompt,completion\na,b\nc\n"x\ny",z\nd,e,f'), [
    [3, 'has 1 cells, but the header has 2'],
    [6, 'has 3 cells, but the header has 2'],
  ]);
  assert.deepEqual(await faultsOf('prompt,completion\na,"b\n'), [
    [2, 'is not CSV: its quotes do not match'],
  ]);
  assert.deepEqual(await faultsOf('[{"text":"a"}, {"text":'), [
    [2, 'is not complete: the list does not end'],
  ]);
  assert.deepEqual(await faultsOf('[{"text":"a"}] {"text":"b"}'), [[2, 'follows the list']]);
});

test('a record or an element beyond the limit comes without its text', async () => {
  const long = 'a'.repeat(100);
  const options = { delimiter: ',', maxBytes: 50 };
  assert.deepEqual(await textsOf(splitRecords(chunksOf(`a,b\n"${long}",c\nd,e`, 9), options)), [
    'a,b',
    undefined,
    'd,e',
  ]);
  assert.deepEqual(await textsOf(splitElements(chunksOf(`["${long}", "b"]`, 9), 50)), [
    undefined,
    ' "b"',
  ]);
});

test('cells are split in linear time, whatever their quotes are', { timeout: 60_000 }, async () => {
  const hostile = `text,"${'x"'.repeat(200_000)}${' '.repeat(200_000)},`;
  await textsOf(readRows(chunksOf(`text,b\n${hostile}\n`, 65_536)));
  assert.equal((await textsOf(readRows(chunksOf(hostile, 65_536)))).length, 1); // Papa Parse takes minutes
});

test('empty cells are the lack of a value, and a column that is named twice is refused', async () => {
  const alpaca = 'instruction,input,output,history\nHi,,Hello,\n';
  const [text] = await textsOf(readRows(chunksOf(alpaca, 7)));
  assert.deepEqual(JSON.parse(text!), { instruction: 'Hi', input: '', output: 'Hello' });
  for await (const { fault } of readRows(chunksOf('text,label,text\na,b,c', 7))) {
    assert.equal(fault, 'names the column text twice');
  }
});

test('a header that is not UTF-8 is the fault of its line', async () => {
  const table = Buffer.from('caf\xe9,instruction,output\na,b,c\n', 'latin1');
  const rows: unknown[] = [];
  for await (const { number, text } of readRows(Readable.from([table]))) rows.push([number, text]);
  assert.deepEqual(rows, [[1, undefined]]);
});

test('columns without a name are those of an index, or of a spreadsheet', async () => {
  for (const table of ['\tinstruction\toutput\n0\ta\tb\n', 'instruction,output,,\na,b,,\n']) {
    const [text] = await textsOf(readRows(chunksOf(table, 7)));
    const { instruction, output } = JSON.parse(text!);
    assert.deepEqual([instruction, output], ['a', 'b']);
  }
});

test('the source is ended when the rows are not wanted any more', async () => {
  for (const content of [readFileSync(PARQUET), Buffer.from(FORMATS['JSON lines']!)]) {
    let isEnded = false;
    const source = (async function* () {
      try {
        for (;;) yield content;
      } finally {
        isEnded = true;
      }
    })();
    try {
      for await (const _ of readRows(source)) break;
    } catch (error) {
      assert.ok(error instanceof ParquetError);
    }
    assert.equal(isEnded, true);
  }
});

/** Two row groups of TRL's chat format, written by pyarrow with zstd and snappy. */
const PARQUET = path.join(import.meta.dirname, 'rows.parquet');

/** One prompt and one completion, repeated by their run lengths. */
const TWO_BILLION_ROWS =
  'UEFSMRUEFRIVEkwVAhUAAAAFAAAAaGVsbG8VABUOFQ4sFYDQrPMOFRAVBhUGAAABgNCs8w4AFQQVEhUSTBUCFQAAAA' +
  'UAAAB3b3JsZBUAFQ4VDiwVgNCs8w4VEBUGFQYAAAGA0KzzDgAVAhk8SAZzY2hlbWEVBAAVDCUAGAZwcm9tcHQlAAAV' +
  'DCUAGApjb21wbGV0aW9uJQAAFoDQrPMOGRwZLCYIHBUMGTUAEAYZGAZwcm9tcHQVABaA0KzzDhZkFmQmNCYIAAAmbB' +
  'wVDBk1ABAGGRgKY29tcGxldGlvbhUAFoDQrPMOFmQWZCaYASZsAAAWyAEWgNCs8w4AAJUAAABQQVIx';

test('Parquet is read by the trainer, and left to it by readers of a stream', async (t) => {
  const bytes = readFileSync(PARQUET);
  await assert.rejects(textsOf(readRows(chunksOf(bytes, 64))), ParquetError);
  const rows: unknown[] = [];
  const encode = (row: unknown) => {
    rows.push(row);
    return {
      ids: new Int32Array([1, rows.length]),
      labels: new Int32Array([1, 2]),
      weights: undefined,
    };
  };
  const { file } = await loadDataset(PARQUET, { encode, maxLength: 9 });
  assert.equal(file.byteSize, bytes.length);
  assert.deepEqual(rows, [parse(chat(...SKY)), parse(chat(SKY[0], GREEN)), parse(chat(...SKY))]);
  const damaged = path.join(temporaryFolder(t), 'damaged.parquet');
  writeFileSync(damaged, bytes.subarray(0, 200));
  await assert.rejects(loadDataset(damaged, { encode, maxLength: 9 }), /is damaged Parquet/);
  for (const content of ['PAR1', 'PAR1\0\0\0\0PAR1']) {
    writeFileSync(damaged, content);
    await assert.rejects(loadDataset(damaged, { encode, maxLength: 9 }), /is damaged Parquet$/);
  }
  writeFileSync(damaged, Buffer.from(TWO_BILLION_ROWS, 'base64'));
  const tooMany = /is damaged Parquet: a row group has 2000000000 rows; at most 1048576 are read/;
  await assert.rejects(loadDataset(damaged, { encode, maxLength: 9 }), tooMany);
});

/** One text, repeated by its run length. Written by pyarrow. */
const THOUSAND_ROWS =
  'UEFSMRUEFRIVEkwVAhUAEgAABQAAAGhlbGxvFQAVCBUILBXQDxUQFQYVBhwAAAAB0A8AFQQZLDUAGAZzY2hlbWEVAgAV' +
  'DCUAGAR0ZXh0JQBMHAAAABbQDxkcGRwmABwVDBk1AAYQGRgEdGV4dBUAFtAPFl4WXiY2JggpLBUEFQAVAgAVABUQFQIA' +
  'PBaQThkGGQYAAAAWXhbQDyYIFl4AKCBwYXJxdWV0LWNwcC1hcnJvdyB2ZXJzaW9uIDI2LjAuMRkcHAAAAJQAAABQQVIx';

test('signals and requests get a turn between the rows of a row group', async (t) => {
  const file = path.join(temporaryFolder(t), 'rows.parquet');
  writeFileSync(file, Buffer.from(THOUSAND_ROWS, 'base64'));
  let turns = 0;
  const turnOfRow: number[] = [];
  for await (const { text } of readParquet(file)) {
    assert.equal(text, '{"text":"hello"}');
    if (turnOfRow.push(turns) === 1) setImmediate(() => turns++);
  }
  assert.equal(turnOfRow.length, 1000);
  assert.deepEqual([turnOfRow[0], turnOfRow.at(-1)], [0, 1]);
});
