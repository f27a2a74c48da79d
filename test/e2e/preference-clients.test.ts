// DPO and graders through OpenAI's official clients for Node and Python, on a server of the built program with the toy base: upload
// pairs, create the job, follow its events, use what it trained, grade its answer. Only the base URL is not OpenAI's.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import { temporaryFolder } from '../fixtures.ts';
import { until } from '../until.ts';
import { type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';

const run = promisify(execFile);
const python = await pythonWith(path.resolve('test/e2e/python-clients.txt'));
const PREFERRED = 'Blue.';

/** Half by similarity, half for any answer. */
const GRADER = JSON.parse(readFileSync('test/e2e/data/grader.json', 'utf8'));

/** What a client has seen. */
interface Seen {
  readonly status: string;
  readonly method: unknown;
  readonly hyperparameters: unknown;
  readonly events: readonly string[];
  readonly metrics: Readonly<Record<string, number>>;
  readonly answer: string;
  readonly graded: { readonly reward: number; readonly errors: Readonly<Record<string, unknown>> };
}

function writePairs(file: string, count: number): string {
  const output = (content: string) => [{ role: 'assistant', content }];
  const rows = Array.from({ length: count }, (_, i) => ({
    input: { messages: [{ role: 'user', content: `What is ${i}?` }] },
    preferred_output: output(PREFERRED),
    non_preferred_output: output('It is red.'),
  }));
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

async function withNode(baseURL: string, file: string): Promise<Seen> {
  const client = new OpenAI({ baseURL, apiKey: 'none' });
  const { jobs } = client.fineTuning;
  const upload = async () =>
    (await client.files.create({ file: createReadStream(file), purpose: 'fine-tune' })).id;
  const { id } = await jobs.create({
    model: 'base',
    training_file: await upload(),
    validation_file: await upload(),
    suffix: 'node',
    seed: 1,
    method: {
      type: 'dpo',
      dpo: { hyperparameters: { beta: 0.5, n_epochs: 8, learning_rate_multiplier: 20 } },
    },
  });
  const job = await until('the job', async () => {
    const now = await jobs.retrieve(id);
    return ['succeeded', 'failed'].includes(now.status) ? now : undefined;
  });
  const events = [];
  for await (const event of jobs.listEvents(id, { limit: 100 })) events.push(event);
  const metrics = events.find(({ type }) => type === 'metrics');
  const { choices } = await client.chat.completions.create({
    model: job.fine_tuned_model ?? 'none',
    messages: [{ role: 'user', content: 'What is 3?' }],
    max_tokens: 8,
    temperature: 0,
  });
  const answer = choices[0]!.message.content!;
  const { grader } = await client.fineTuning.alpha.graders.validate({ grader: GRADER });
  const { reward, metadata } = await client.fineTuning.alpha.graders.run({
    grader: grader!,
    model_sample: answer,
    item: { wanted: PREFERRED },
  });
  return {
    status: job.status,
    method: job.method,
    hyperparameters: job.hyperparameters,
    events: events.map(({ message }) => message),
    metrics: metrics?.data as Record<string, number>,
    answer,
    graded: { reward, errors: { ...metadata.errors } },
  };
}

async function withPython(baseUrl: string, file: string): Promise<Seen> {
  assert.ok('python' in python);
  const script = path.resolve('test/e2e/preference_client.py');
  const env = { PATH: process.env['PATH'], OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: 'none' };
  const { stdout } = await run(python.python, [script, file], { env });
  return JSON.parse(stdout) as Seen;
}

function check({ status, method, hyperparameters, events, metrics, ...seen }: Seen): void {
  assert.equal(status, 'succeeded', events.join('\n'));
  const resolved = { n_epochs: 8, batch_size: 8, learning_rate_multiplier: 20, beta: 0.5 };
  assert.deepEqual(method, { type: 'dpo', dpo: { hyperparameters: resolved } });
  assert.deepEqual(hyperparameters, {});
  assert.equal(events[0], 'The job has successfully completed');
  assert.ok(events.some((message) => /^Step 1\/\d+: training loss=0\.69$/.test(message)));
  assert.equal(metrics['rewards/accuracies'], 1);
  assert.equal(metrics['eval_rewards/accuracies'], 1);
  assert.ok(metrics['rewards/margins']! > 1);
  assert.ok(seen.answer.length > 0);
  const errors = Object.entries(seen.graded.errors).filter(([, error]) => error);
  assert.deepEqual(errors, []);
  assert.ok(seen.graded.reward > 0.5 && seen.graded.reward <= 1);
}

describe('a job of pairs', () => {
  const folder = temporaryFolder();
  const file = writePairs(path.join(folder, 'pairs.jsonl'), 32);
  let server: Serving;
  before(async () => {
    server = await startServing(['--model', path.resolve('models/toy')], folder);
  });
  after(() => server.stop());

  test('by openai-node', async () => check(await withNode(`${server.url}/v1`, file)));

  const skip = 'reason' in python ? python.reason : false;
  test('by openai-python', { skip }, async () => {
    check(await withPython(`${server.url}/v1`, file));
  });
});
