// The worked example, by OpenAI's official clients on the real base: data, job, served adapter. While its script follows
// the job, a second client pauses and resumes it. It ends with what the example promises.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';
import { type Controlled, controlJob } from './control-job.ts';
import { execute } from './execute.ts';
import { serveFor } from './program.ts';
import { pythonWith } from './python-venv.ts';
import { fetchBase, isLong, preparedHome } from './served.ts';

const EXAMPLE = path.resolve('examples/train-then-serve');
const BATCH = 8;
/** Rows for training, validation and testing, and the share that the model must answer exactly. The whole job is what the example promises. */
const WHOLE = { train: 320, validation: 64, test: 200, wanted: 0.75 };
const SHORT = { train: 40, validation: 10, test: 16, wanted: 0.1 };
/** The share that the base answers exactly: none or a single row, which depends on the processor's rounding. */
const UNTRAINED_AT_MOST = 0.02;

const base = await fetchBase();
const python = await pythonWith(path.join(EXAMPLE, 'requirements.txt'));
const example = await makeExample();
const skip = [base, example].flatMap((part) => ('reason' in part ? part.reason : []))[0] ?? false;
const skipPython =
  skip ||
  ('reason' in python ? python.reason : false) ||
  (isLong ? false : 'LORIKEET_E2E_LONG is not set');

/** A copy of the example with its packages and its data, or why it can't be had. */
async function makeExample(): Promise<{ dir: string } | { reason: string }> {
  const dir = temporaryFolder({ after: (end) => process.on('exit', end) });
  try {
    await cp(EXAMPLE, dir, {
      recursive: true,
      filter: (file) => !/node_modules|data$/.test(path.relative(EXAMPLE, file)),
    });
    await execute('npm', ['ci', '--no-audit', '--no-fund'], { cwd: dir });
    await execute('npm', ['run', 'data'], { cwd: dir });
    return { dir };
  } catch (error) {
    return { reason: `the example's packages can't be had: ${error}` };
  }
}

type Job = typeof WHOLE;

interface Client {
  /** The command of the example. */
  readonly script: readonly [string, string];
  readonly dir: string;
  readonly job: Job;
  control(baseUrl: string, trainingFile: string): Promise<Controlled>;
}

async function runExample(t: TestContext, client: Client): Promise<void> {
  const { script, control, dir, job } = client;
  assert.ok('dir' in base);
  for (const split of ['train', 'validation', 'test'] as const) {
    const file = path.join(dir, 'data', `${split}.jsonl`);
    const rows = readFileSync(file, 'utf8').split('\n').slice(0, job[split]);
    writeFileSync(file, `${rows.join('\n')}\n`);
  }
  const server = await serveFor(t, ['--model', base.dir], await preparedHome(base.dir, t));
  const baseUrl = `${server.url}/v1`;
  const env = { ...process.env, OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: 'none' };
  const [{ stdout }, seen] = await Promise.all([
    execute(script[0], [script[1]], { cwd: dir, env }),
    control(baseUrl, path.join(dir, 'data', 'validation.jsonl')),
  ]);
  t.diagnostic(stdout.trim().split('\n').at(-1)!);
  assertShares(stdout, seen, job);
  assertControlled(seen, job.train / BATCH);
}

function assertShares(printed: string, { model }: Controlled, { test, wanted }: Job): void {
  const shares = [...printed.matchAll(/^(\S+): exact match ([\d.]+) of (\d+) rows$/gm)];
  assert.deepEqual(
    shares.map(([, name, , rows]) => [name, Number(rows)]),
    [
      ['base', test],
      [model, test],
    ],
  );
  assert.ok(Number(shares[0]![2]) <= UNTRAINED_AT_MOST, shares[0]![0]);
  assert.ok(Number(shares[1]![2]) > wanted, shares[1]![0]);
}

function assertControlled(seen: Controlled, steps: number): void {
  const { cancelled, paused, ended, refusal, deleted } = seen;
  assert.deepEqual(
    { cancelled, paused, ended, refusal, deleted },
    {
      cancelled: 'cancelled',
      paused: 'paused',
      ended: 'succeeded',
      refusal: 'invalid_request',
      deleted: true,
    },
  );
  assert.match(seen.resumed, /^(queued|running)$/);
  assert.match(seen.model, /^ft:[^:]+:[^:]+:glosses:[A-Za-z0-9]+$/);
  assert.ok(seen.models.includes(seen.model));
  assert.ok(seen.trained_tokens > 0);
  // No step is told twice, none is missing, paused or not.
  assert.deepEqual(
    seen.steps,
    Array.from({ length: steps }, (_, i) => i + 1),
  );
  assert.deepEqual(seen.messages.slice(0, 2), [
    'The job has successfully completed',
    `New fine-tuned model created: ${seen.model}`,
  ]);
  assert.deepEqual(pluck(seen.checkpoints, 'step'), [steps]);
  const [header, ...lines] = seen.table.trim().split('\n');
  assert.match(header!, /^step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy/);
  assert.equal(lines.length, steps);
}

test('openai-node trains, pauses, resumes and cancels, and is answered by what it trained', {
  skip,
}, async (t) => {
  assert.ok('dir' in example);
  const dir = temporaryFolder(t);
  await cp(example.dir, dir, { recursive: true });
  const script = [process.execPath, 'fine-tune.mjs'] as const;
  await runExample(t, { script, dir, job: isLong ? WHOLE : SHORT, control: controlJob });
});

test('openai-python does the same', { skip: skipPython }, async (t) => {
  assert.ok('python' in python && 'dir' in example);
  const dir = temporaryFolder(t);
  await cp(path.join(EXAMPLE, 'fine_tune.py'), path.join(dir, 'fine_tune.py'));
  await cp(path.join(example.dir, 'data'), path.join(dir, 'data'), { recursive: true });
  const control = async (baseUrl: string, trainingFile: string) => {
    const env = { ...process.env, OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: 'none' };
    const script = path.resolve('test/e2e/control_job.py');
    const { stdout } = await execute(python.python, [script, trainingFile], { env });
    return JSON.parse(stdout) as Controlled;
  };
  const script = [python.python, 'fine_tune.py'] as const;
  await runExample(t, { script, dir, job: SHORT, control });
});
