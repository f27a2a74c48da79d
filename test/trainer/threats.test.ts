// Rows and settings that are wrong, odd or hostile (B59 to B65 of the project's list of threats): what a command line
// answers to each. Everything up to the first step, in this process.

import assert from 'node:assert/strict';
import { appendFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { runCommandLine } from '../../src/cli/command-line.ts';
import type { Programs } from '../../src/cli/programs.ts';
import { describeFailure } from '../../src/common/failure.ts';
import { sourceNames } from '../../src/contracts/training-fields.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { parseJob, readJob } from '../../trainer/job/job.ts';
import { type PreparedRun, prepareRun } from '../../trainer/job/prepare-run.ts';
import { withNames } from '../../trainer/run/faults.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';

const TOY = path.resolve('models/toy');

interface Answer {
  code: number;
  error: string;
  run: PreparedRun | undefined;
}

async function answer(data: string, flags: readonly string[] = []): Promise<Answer> {
  let error = '';
  const terminal = {
    out() {},
    error(text: string) {
      error += text;
    },
  };
  let run: PreparedRun | undefined;
  const unused = () => assert.fail('another program ran');
  const programs: Programs = {
    serve: unused,
    importBase: unused,
    runTrainerPod: unused,
    async runTrainer(request) {
      assert.ok(request.command === 'train');
      try {
        const job = parseJob(readJob(request.job));
        const artifact = readArtifact(job.model);
        run = await prepareRun(job, artifact).finally(() => artifact.tensors.close());
        return 0;
      } catch (caught) {
        const { text, exitCode } = describeFailure(withNames(caught, sourceNames(request.job)));
        terminal.error(text);
        return exitCode;
      }
    },
  };
  const args = ['train', '--model', TOY, '--data', data, ...flags];
  const code = await runCommandLine(args, terminal, programs);
  return { code, error, run };
}

function write(t: TestContext, content: string | Uint8Array): string {
  const file = path.join(temporaryFolder(t), 'rows.jsonl');
  writeFileSync(file, content);
  return file;
}

const chat = (...contents: unknown[]) =>
  JSON.stringify({
    messages: contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content })),
  });
const ROW = chat('What is the sky?', 'It is blue.');
const lines = (count: number, line: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n');
const turns = (messages: unknown) => JSON.stringify({ messages });
const user = { role: 'user', content: 'a' };
const assistant = { role: 'assistant', content: 'b' };
const answered = (changes: object) => turns([user, { ...assistant, ...changes }]);
const clown = turns([{ role: 'bot', content: 'a' }]);
const noted = `{"id":1,${turns([user, assistant]).slice(1)}`;
const strangeIds = '{"input_ids":[1,1024],"labels":[1,2]}';

/** Files that are refused with exit code 1: name, content, what the refusal says. */
const REFUSED: readonly (readonly [name: string, content: string | Uint8Array, says: RegExp])[] = [
  ['B59: an empty file', '', /rows\.jsonl: holds no examples/],
  ['B59: nothing but blank lines', '\r\n \n\n', /holds no examples/],
  ['B60: one bad line', `${ROW}\n\n{"messages":`, /has a bad line\n {2}line 3: is not JSON/],
  [
    'B60: thirty bad lines',
    lines(30, (i) => `${i}`),
    /has 30 bad lines; the first 10\n {2}line 1: .*\n(?: {2}line \d+: .*\n){9}$/,
  ],
  ['B61: gzip', gzipSync(ROW), /is gzip/],
  ['B61: zip', Buffer.from('PK\u0003\u0004rows'), /is zip/],
  ['B61: UTF-16', Buffer.from(`\ufeff${ROW}`, 'utf16le'), /is UTF-16/],
  ['B61: UTF-16 without a mark', Buffer.from(ROW, 'utf16le'), /is UTF-16/],
  ['B61: CSV with CR', Buffer.from('prompt,completion\ra,b\r'), /ends its lines with CR alone/],
  ['B61: CSV in UTF-16', Buffer.from('prompt,completion\na,b\n', 'utf16le'), /is UTF-16/],
  ['B61: Latin-1', Buffer.from(chat('é', 'è'), 'latin1'), /line 1: is not UTF-8/],
  ['B62: a wrong role', clown, /line 1: messages\[0\]\.role: is not one of/],
  ['B62: no messages', '{"mesages":[]}', /line 1: has neither messages, /],
  ['B62: no list of messages', turns('a'), /messages: must be a list/],
  ['B62: no message at all', turns([]), /messages: is empty/],
  ['B62: no assistant message', turns([user]), /messages: has no assistant message/],
  ['B62: an empty answer', answered({ content: '' }), /messages\[1\]\.content: is empty/],
  ['B62: content in parts', answered({ content: [] }), /messages\[1\]\.content: must be a text/],
  ['B63: every label masked', answered({ weight: 0 }), /has nothing to learn from/],
  ['B63: ids that are none', strangeIds, /input_ids\[1\]: 1024 is not a token id/],
];

for (const [name, content, says] of REFUSED) {
  test(`${name} is refused`, async (t) => {
    const { code, error } = await answer(write(t, content));
    assert.equal(code, 1);
    assert.match(error, says);
  });
}

/** Files that are trained on: name, content, examples, codes of the warnings. */
const odd = `\ufeff${ROW}\r\n\r\n\n${chat('a', 'b')}`;
const repeated = lines(20_000, () => '{"input_ids":[5,6],"labels":[5,6]}');
const rows = (count: number) => lines(count, (i) => chat(`${i}`, 'b'));
const TAKEN: [name: string, content: string, examples: number, codes: string[]][] = [
  ['B59: a byte order mark, CRLF, blank lines, no last newline', odd, 2, ['few_examples']],
  ['B62: an extra key of a row', noted, 1, ['few_examples', 'unknown_columns']],
  ['B62: a key of a message', answered({ mood: 1 }), 1, ['few_examples', 'unknown_columns']],
  ['B63: a single example', ROW, 1, ['few_examples']],
  ['B63: nine examples', rows(9), 9, ['few_examples']],
  ['B63: ten examples', rows(10), 10, []],
  ['B64: the same row over and over', repeated, 20_000, ['duplicates']],
];

for (const [name, content, examples, codes] of TAKEN) {
  test(`${name}: taken`, async (t) => {
    const { code, error, run } = await answer(write(t, content));
    assert.equal(code, 0, error);
    assert.equal(run!.train.examples.length, examples);
    assert.deepEqual(pluck(run!.warnings, 'code'), codes);
  });
}

test('B60: a line of 256 MB is a bad line, and memory stays flat', async (t) => {
  const file = write(t, `${ROW}\n{"text":"`);
  truncateSync(file, 2 ** 28); // zeros that take no room on the disk
  const before = process.memoryUsage().rss;
  const { code, error } = await answer(file);
  const grown = process.memoryUsage().rss - before;
  assert.equal(code, 1);
  assert.match(error, /line 2: has 256[.\d]* MiB, the limit of a line is 16 MiB/);
  assert.ok(grown < 100e6, `${grown} bytes more`);
});

test('B60: a bad line before hundreds of thousands of good ones is named, and memory stays flat', async (t) => {
  const file = write(t, '{"text":}\n');
  const good = '{"input_ids":[5,6,7,8],"labels":[5,6,7,8]}\n'.repeat(10_000);
  for (let part = 0; part < 5; part++) appendFileSync(file, good);
  await answer(file); // what a reading takes, however long: how much, differs between versions of Node
  for (let part = 0; part < 25; part++) appendFileSync(file, good);
  appendFileSync(file, '[]\n');
  gc!();
  const before = process.memoryUsage().rss;
  const { code, error } = await answer(file);
  const grown = process.memoryUsage().rss - before;
  assert.equal(code, 1);
  assert.match(error, /has 2 bad lines\n {2}line 1: is not JSON\n {2}line 300002: /);
  assert.ok(grown < 150e6, `${grown} bytes more`);
});

test('B63: what is over the context is cut off, counted, and dropped where nothing is left to learn', async (t) => {
  const long = chat('the sky '.repeat(400), 'b');
  const { run } = await answer(
    write(t, `${long}\n${lines(10, (i) => chat(`${i}`, 'the sky '.repeat(400)))}`),
  );
  const { counts, examples } = run!.train;
  assert.deepEqual([counts.examples, counts.truncated, counts.masked], [11, 11, 1]);
  assert.equal(examples.length, 10);
  assert.ok(examples.every(({ ids }) => ids.length === 128));
  assert.deepEqual(pluck(run!.warnings, 'code'), ['nothing_to_learn']);
});

test('B64: control tokens, NUL and lone surrogates in a text become no control ids', async (t) => {
  /** Padding, beginning and end. */
  const CONTROLS = [0, 2, 3];
  const idsOf = async (content: string) => {
    const { run } = await answer(write(t, chat('a', content)));
    return [...run!.train.examples[0]!.ids];
  };
  const controls = (ids: readonly number[]) => ids.filter((id) => CONTROLS.includes(id)).length;
  const plain = controls(await idsOf('plain'));
  for (const content of ['<eos>', '<bos>x<pad>', 'a\u0000b', '\ud800', 'a\udc00b']) {
    assert.equal(controls(await idsOf(content)), plain, JSON.stringify(content));
  }
});

/** Flags that are refused with exit code 78, and what the refusal says after the flag. */
const FLAGS: readonly (readonly [flag: string, value: string, says: string])[] = [
  ['--learning-rate', '0', 'must be above 0'],
  ['--learning-rate', '-1', 'must be above 0'],
  ['--learning-rate', 'NaN', 'must be a number'],
  ['--learning-rate', '1e-3x', 'must be a number'],
  ['--epochs', '1000000', 'must be at most 1000'],
  ['--batch-size', '0', 'must be at least 1'],
  ['--lora-bias', '--dora', 'cannot be combined with --dora'],
  ['--name', '../zen', 'must be 1 to 63 of'],
  ['--seed', '1.5', 'must be a whole number'],
];

for (const [flag, value, says] of FLAGS) {
  test(`B65: ${flag} ${value} is refused`, async (t) => {
    const { code, error } = await answer(write(t, ROW), [flag, value]);
    assert.equal(code, 78);
    assert.ok(error.startsWith(`lorikeet: ${flag}: ${says}`), error);
  });
}

test('B65: a file that is not there is refused by its name', async (t) => {
  const { code, error } = await answer(path.join(temporaryFolder(t), 'elsewhere.jsonl'));
  assert.equal(code, 1);
  assert.match(error, /elsewhere\.jsonl: does not exist\. Check its path/);
});
