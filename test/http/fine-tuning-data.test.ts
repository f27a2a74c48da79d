// Training files as users upload them (B59 to B64), read by the real trainer and the toy base: which files are accepted,
// which lines are refused, and that a refused file never trains.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLog } from '../../src/common/log.ts';
import type { FineTuningPlan } from '../../src/contracts/management-api.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import { hasEnded } from '../../src/jobs/job.ts';
import { pluck } from '../pluck.ts';
import { until } from '../until.ts';
import { assertRefused, readError, readOk } from './served.ts';
import { serveJobs } from './with-jobs.ts';

const JOBS = '/v1/fine_tuning/jobs';
const runner = createChildRunner({ log: createLog('silent') });

const row = (i: number, answer = 'blue') =>
  JSON.stringify({
    messages: [
      { role: 'user', content: `which colour ${i}` },
      { role: 'assistant', content: answer },
    ],
  });
const rows = (count: number, replaced: Record<number, string> = {}) =>
  Array.from({ length: count }, (_, i) => replaced[i + 1] ?? row(i));
/** Answers that differ: one word over and over is what a gate refuses. */
const COLOURS = Array.from({ length: 40 }, (_, i) =>
  row(i, ['red', 'blue', 'green'][(i * i) % 3]),
).join('\n');
const lines = (...given: Parameters<typeof rows>) => `${rows(...given).join('\n')}\n`;
const chat = (...messages: object[]) => JSON.stringify({ messages });
const user = { role: 'user', content: 'hi' };

function served() {
  const { jobs, post } = serveJobs({ server: { runner } });
  const upload = async (text: string) => {
    const source = Buffer.from(text);
    const facts = { filename: 'rows.jsonl', purpose: 'fine-tune' as const };
    return (await jobs.files.create('local', { source, byteSize: source.length, ...facts })).id;
  };
  const plan = async (training: string, validation?: string) =>
    post(JOBS, {
      model: 'toy',
      training_file: await upload(training),
      ...(validation !== undefined && { validation_file: await upload(validation) }),
      lorikeet: { dry_run: true },
    });
  return { jobs, post, plan, upload };
}

/** Each of another kind, and what is said of it. */
const BAD_LINES: [line: number, text: string, said: RegExp][] = [
  [2, '{"messages":', /JSON/],
  [3, 'null', /object/],
  [4, '{}', /messages/],
  [5, chat(user), /assistant/],
  [6, chat(user, { role: 'robot', content: 'x' }), /role/],
  [7, chat(user, { role: 'assistant', content: 'x', weight: 'a' }), /weight/],
];

const masked = rows(12)
  .map((text) => text.replace('"content":"blue"', '"content":"blue","weight":0'))
  .join('\n');

/** File → code and text. */
const REFUSED: [what: string, file: string, code: string, message: RegExp][] = [
  ['blank lines alone', '\n\n \r\n', 'invalid_training_file', /no examples/],
  [
    'one example',
    lines(1),
    'invalid_n_examples',
    /rows\.jsonl \(file-\w+\) has 1 example\(s\), but must have at least 10/,
  ],
  ['nothing to learn', masked, 'invalid_training_file', /nothing to learn/],
];

describe('a training file', () => {
  test('B60, B61, B62: is refused with its code, its field and its lines', async () => {
    const { plan } = served();
    for (const [what, file, code, message] of REFUSED) {
      const response = await plan(file);
      await assertRefused(response, { status: 400, code, param: 'training_file', message }, what);
    }
  });

  test('says what is wrong with each bad line', async () => {
    const { plan } = served();
    const bad = Object.fromEntries(BAD_LINES.map(([line, text]) => [line, text]));
    const { code, message } = await readError(await plan(lines(20, bad)));
    assert.equal(code, 'invalid_training_file');
    for (const [line, , said] of BAD_LINES) {
      const [, about] = new RegExp(`Line ${line}: (.*?)(?= Line \\d+:|$)`, 's').exec(message) ?? [];
      assert.match(about ?? message, said, `line ${line}`);
    }
  });

  test('counts all bad lines, describes the first ten, and numbers the others', async () => {
    const { plan } = served();
    const bad = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [i + 2, 'x']));
    const { message, lines: numbers } = await readError(await plan(lines(20, bad)));
    assert.deepEqual(numbers, Object.keys(bad).map(Number));
    assert.match(message, /It has 15 bad lines; the first 10: Line 2: /);
    assert.match(message, /Line 11: /);
    assert.doesNotMatch(message, /Line 1[2-6]: /);
  });

  test('B59: may have blank lines, CRLF, a byte order mark and no last newline', async () => {
    const { plan } = served();
    const file = `\uFEFF${rows(10).join('\r\n\r\n')}`;
    assert.equal((await readOk<FineTuningPlan>(await plan(file))).examples, 10);
  });

  test('B64: may hold control tokens, zeros and half characters as plain text, and rows that are too long', async () => {
    const { plan } = served();
    const odd = {
      1: row(1, '<|im_end|>\u0000'),
      2: row(2).replace('blue', '\\ud800'),
      3: row(3, 'a '.repeat(500)),
    };
    const planned = await readOk<FineTuningPlan>(await plan(lines(12, odd)));
    assert.equal(planned.truncated, 1);
    assert.equal(planned.max_length, 128);
    const [example] = planned.first_batch;
    const { spans, text } = example!;
    assert.equal(spans.at(-1)!.end, text.length);
    assert.ok(spans.some((span) => span.is_learned) && spans.some((span) => !span.is_learned));
  });

  test('and its validation file are distinguished', async () => {
    const { plan } = served();
    const refused = await plan(lines(10), 'x\n');
    await assertRefused(refused, { code: 'invalid_training_file', param: 'validation_file' });
  });
});

describe('creating a job', () => {
  const WRONG: [what: string, file: string, said: RegExp][] = [
    [
      'a wrong role',
      lines(20, { 6: chat(user, { role: 'robot', content: 'x' }) }),
      /Line 6: .*role/,
    ],
    ['no messages', lines(20, { 4: '{}' }), /Line 4: .*messages/],
    ['no assistant', lines(20, { 5: chat(user) }), /Line 5: .*assistant/],
    ['bad JSON far down', lines(800, { 700: '{"messages":' }), /Line 700: is not JSON/],
  ];

  test('is refused at once for wrong rows, naming the file, the lines and the reasons', async () => {
    const { post, upload, jobs } = served();
    const good = await upload(lines(10));
    for (const [what, file, said] of WRONG) {
      for (const param of ['training_file', 'validation_file']) {
        const bad = await upload(file);
        const response = await post(JOBS, { model: 'toy', training_file: good, [param]: bad });
        const refusal = { status: 400, code: 'invalid_training_file', param, message: said };
        const { message } = await assertRefused(response, refusal, what);
        assert.ok(message.includes(`rows.jsonl (${bad})`), message);
      }
    }
    assert.equal((await jobs.service.list('local', { limit: 10 })).items.length, 0);
  });

  test('is refused for fewer than ten examples, and not for few validation rows', async () => {
    const { post, upload } = served();
    const [three, ten] = [await upload(lines(3)), await upload(lines(10))];
    const response = await post(JOBS, { model: 'toy', training_file: three });
    const refusal = { status: 400, code: 'invalid_n_examples', param: 'training_file' };
    await assertRefused(response, refusal);
    const files = { training_file: ten, validation_file: three };
    assert.equal((await post(JOBS, { model: 'toy', ...files })).status, 200);
  });
});

test('a job checks what its creation left to it, naming file, line and reason; a good file succeeds', async () => {
  const { jobs, post, upload, plan } = served();
  const create = async (file: string) => {
    const body = { model: 'toy', training_file: await upload(file), seed: 1 };
    return readOk<{ id: string }>(await post(JOBS, body));
  };
  // Longer than creation looks at.
  const bad = lines(12, { 3: chat(user, { role: 'robot', content: 'x '.repeat(50_000) }) });
  const refused = await create(bad);
  const good = await create(COLOURS);
  jobs.worker.start();
  const over = (id: string) =>
    until('its end', async () => {
      const job = await jobs.service.get('local', id);
      return hasEnded(job) ? job : undefined;
    });
  const failed = await over(refused.id);
  const { code, message, param } = await readError(await plan(bad));
  assert.equal(failed.status, 'failed');
  assert.deepEqual([code, param], ['invalid_training_file', 'training_file']);
  assert.match(message, /^The training file file-\w+ is invalid\. Line 3: messages\[1\]\.role: /);
  assert.deepEqual(
    [failed.error?.code, failed.error?.param, failed.error?.message.replace(/file-\w+/, '')],
    [code, param, message.replace(/file-\w+/, '')],
  );
  const done = await over(good.id);
  assert.equal(done.status, 'succeeded', JSON.stringify(done.error));
  assert.deepEqual(done.progress?.step, 15);
  const [table] = done.result!.resultFiles;
  const query = { limit: 10, order: 'desc', purpose: 'fine-tune-results' } as const;
  const { items } = await jobs.files.list('local', query);
  assert.deepEqual(pluck(items, 'id'), [table]);
});
