// DPO, reinforcement and graders through OpenAI's official clients for Node and Python, on a server of the built program with the toy
// base: upload rows, create the job, follow its events, use what it trained, grade its answer. Only the base URL is not OpenAI's.
import assert from 'node:assert/strict';
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { PythonGraders } from '../../src/graders/python.ts';
import { temporaryFolder } from '../fixtures.ts';
import { skipUnlessLong } from '../shared.ts';
import { until } from '../until.ts';
import { execute } from './execute.ts';
import { type Serving, serveFor, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';

const python = await pythonWith('examples/train-then-serve/requirements.txt');
const PREFERRED = 'Blue.';

/** Half by similarity, half for any answer. */
const GRADER = JSON.parse(readFileSync('test/e2e/data/grader.json', 'utf8'));

/** Rewards what the row wants, and, to have something to learn, the length of the completion. */
const PYTHON_GRADER = {
  type: 'python',
  name: 'measured',
  source: 'def grade(sample, item): return len(item["wanted"]) + len(sample["output_text"]) / 1000',
} as const;
const sandbox = await PythonGraders.open('python3').catch((error: Error) => error);
const noSandbox = sandbox instanceof Error && sandbox.message;

/** What a client has seen. */
interface Seen {
  readonly status: string;
  readonly method: unknown;
  readonly hyperparameters: unknown;
  readonly events: readonly string[];
  readonly metrics: Readonly<Record<string, number>>;
  /** Whether each checkpoint is the result, newest first. */
  readonly checkpoints: readonly boolean[];
  readonly answer: string;
  readonly graded: { readonly reward: number; readonly errors: Readonly<Record<string, unknown>> };
}

const METHODS = {
  dpo: {
    type: 'dpo',
    dpo: { hyperparameters: { beta: 0.5, n_epochs: 8, learning_rate_multiplier: 20 } },
  },
  reinforcement: {
    type: 'reinforcement',
    reinforcement: {
      grader: GRADER,
      hyperparameters: {
        n_epochs: 2,
        batch_size: 5,
        learning_rate_multiplier: 20,
        reasoning_effort: 'low',
        compute_multiplier: 0.5,
        eval_interval: 1,
        eval_samples: 8,
      },
    },
  },
} as const;

function writeRows(file: string, rows: readonly object[]): string {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

const questions = (count: number) =>
  Array.from({ length: count }, (_, i) => [{ role: 'user', content: `What is ${i}?` }]);

function writePairs(file: string, count: number): string {
  const output = (content: string) => [{ role: 'assistant', content }];
  const rows = questions(count).map((messages) => ({
    input: { messages },
    preferred_output: output(PREFERRED),
    non_preferred_output: output('It is red.'),
  }));
  return writeRows(file, rows);
}

type Method = keyof typeof METHODS;

async function createJob(client: OpenAI, file: string, method: Method): Promise<string> {
  const upload = async () =>
    (await client.files.create({ file: createReadStream(file), purpose: 'fine-tune' })).id;
  const { id } = await client.fineTuning.jobs.create({
    model: 'base',
    training_file: await upload(),
    validation_file: await upload(),
    suffix: 'node',
    seed: 1,
    method: METHODS[method],
  });
  return id;
}

/** Requests take CPU time from the job. */
const PATIENTLY = { pollMs: 200, deadlineMs: 300_000 };

function endOf({ fineTuning: { jobs } }: OpenAI, id: string) {
  const findEnded = async () => {
    const now = await jobs.retrieve(id);
    return ['succeeded', 'failed'].includes(now.status) && now;
  };
  return until('the job', findEnded, PATIENTLY);
}

async function withNode(baseURL: string, file: string, method: Method): Promise<Seen> {
  const client = new OpenAI({ baseURL, apiKey: 'none' });
  const { jobs } = client.fineTuning;
  const id = await createJob(client, file, method);
  const job = await endOf(client, id);
  const events = [];
  for await (const event of jobs.listEvents(id, { limit: 100 })) events.push(event);
  const metrics = events.find(({ type }) => type === 'metrics');
  const checkpoints = [];
  for await (const one of jobs.checkpoints.list(id)) {
    checkpoints.push(one.fine_tuned_model_checkpoint === job.fine_tuned_model);
  }
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
    checkpoints,
    answer,
    graded: { reward, errors: { ...metadata.errors } },
  };
}

async function withPython(baseUrl: string, file: string, method: Method): Promise<Seen> {
  assert.ok('python' in python);
  const script = path.resolve('test/e2e/preference_client.py');
  const env = { PATH: process.env['PATH'], OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: 'none' };
  const args = [script, file, JSON.stringify(METHODS[method])];
  const { stdout } = await execute(python.python, args, { env });
  return JSON.parse(stdout) as Seen;
}

function checkCommon({ status, hyperparameters, events, ...seen }: Seen): void {
  assert.equal(status, 'succeeded', events.join('\n'));
  assert.deepEqual(hyperparameters, {});
  assert.equal(events[0], 'The job has successfully completed');
  assert.ok(seen.answer.length > 0);
  const errors = Object.entries(seen.graded.errors).filter(([, error]) => error);
  assert.deepEqual(errors, []);
}

function checkPairs(seen: Seen): void {
  checkCommon(seen);
  const resolved = { n_epochs: 8, batch_size: 8, learning_rate_multiplier: 20, beta: 0.5 };
  assert.deepEqual(seen.method, { type: 'dpo', dpo: { hyperparameters: resolved } });
  assert.ok(seen.events.some((message) => /^Step 1\/\d+: training loss=0\.69$/.test(message)));
  assert.equal(seen.metrics['rewards/accuracies'], 1);
  assert.equal(seen.metrics['eval_rewards/accuracies'], 1);
  assert.ok(seen.metrics['rewards/margins']! > 1);
  assert.ok(seen.graded.reward > 0.5 && seen.graded.reward <= 1);
}

function checkRewards(seen: Seen): void {
  checkCommon(seen);
  assert.deepEqual(seen.method, METHODS.reinforcement);
  const { reward, train_mean_reward: mean } = seen.metrics;
  assert.equal(mean, reward);
  assert.ok(seen.metrics['full_valid_mean_reward']! > 0);
  const first = /^Step 1\/4 , train mean reward=0\.\d\d, full validation mean reward=0\.\d\d, /;
  assert.ok(seen.events.some((message) => first.test(message)));
  assert.deepEqual([...seen.checkpoints].sort(), [false, false, true]);
}

const KINDS = { dpo: checkPairs, reinforcement: checkRewards };

describe('a job of the official clients', () => {
  const folder = temporaryFolder();
  const prompts = questions(10).map((messages) => ({ messages, wanted: PREFERRED }));
  const files = {
    dpo: writePairs(path.join(folder, 'pairs.jsonl'), 32),
    reinforcement: writeRows(path.join(folder, 'prompts.jsonl'), prompts),
  };
  let server: Serving;
  before(async () => {
    // A busy machine has no idle time.
    const priority = ['--train-priority', 'nice'];
    const graders = noSandbox ? [] : ['--python-graders', 'python3'];
    const args = ['--model', path.resolve('models/toy'), ...priority, ...graders];
    server = await startServing(args, folder);
  });
  after(() => server.stop());

  const skip = 'reason' in python ? python.reason : false;
  for (const method of ['dpo', 'reinforcement'] as const) {
    const ofServer = () => [`${server.url}/v1`, files[method], method] as const;
    test(`${method} by openai-node`, async () => KINDS[method](await withNode(...ofServer())));
    const skipSame = skip || (method === 'dpo' ? skipUnlessLong : false);
    test(`${method} by openai-python`, { skip: skipSame }, async () => {
      KINDS[method](await withPython(...ofServer()));
    });
  }

  const createPython = async (url: string) => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
    const file = createReadStream(files.reinforcement);
    const { id: training_file } = await client.files.create({ file, purpose: 'fine-tune' });
    const hyperparameters = { n_epochs: 1, batch_size: 10, learning_rate_multiplier: 20 };
    const reinforcement = { grader: PYTHON_GRADER, hyperparameters };
    const method = { type: 'reinforcement' as const, reinforcement };
    const lorikeet = { completions: 2, completion_length: 4 };
    const body = { model: 'base', training_file, method, lorikeet };
    return { client, job: await client.fineTuning.jobs.create(body) };
  };

  test('a job is graded by Python if the operator allows it', { skip: noSandbox }, async () => {
    const { client, job } = await createPython(server.url);
    const { status } = await endOf(client, job.id);
    const events = (await client.fineTuning.jobs.listEvents(job.id)).data;
    assert.equal(status, 'succeeded', events.map(({ message }) => message).join('\n'));
    const { data } = events.find(({ type }) => type === 'metrics')!;
    const { scores } = data as { scores: { train_reward_mean: number; graders: object[] } };
    const wanted = scores.train_reward_mean - PREFERRED.length;
    assert.ok(wanted > 0 && wanted < 0.1, `${scores.train_reward_mean}`);
    const [first] = scores.graders as { name: string; type: string }[];
    assert.deepEqual([first!.name, first!.type], ['measured', 'python']);
  });

  test('a grader in Python is refused by name by default', { skip: skipUnlessLong }, async (t) => {
    const other = await serveFor(t, ['--model', path.resolve('models/toy')], temporaryFolder());
    await assert.rejects(createPython(other.url), {
      status: 400,
      param: 'method.reinforcement.grader.type',
      code: 'unsupported_parameter',
      message: /python graders are off on this server.*--python-graders/,
    });
  });

  test('reinforcement ends with the same bytes after a pause', {
    skip: skipUnlessLong,
  }, async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none' });
    const { jobs } = client.fineTuning;
    const create = () => createJob(client, files.reinforcement, 'reinforcement');
    const whole = await endOf(client, await create());
    const id = await create();
    const hasBegun = async () =>
      (await jobs.listEvents(id)).data.some(({ message }) => message.startsWith('Step 1/'));
    await until('a step', hasBegun, PATIENTLY);
    assert.equal((await jobs.pause(id)).status, 'paused');
    await jobs.resume(id);
    const resumed = await endOf(client, id);
    const digestOf = (job: object) => (job as { lorikeet: { digest?: string } }).lorikeet.digest;
    const events = (await jobs.listEvents(id, { limit: 100 })).data.map(({ message }) => message);
    assert.equal(resumed.status, 'succeeded', events.join('\n'));
    assert.equal(digestOf(resumed), digestOf(whole));
    assert.ok(events.some((message) => /^Resumed after step \d/.test(message)));
  });
});
