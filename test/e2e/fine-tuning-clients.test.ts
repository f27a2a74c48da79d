// The worked example, by OpenAI's official clients on the real base: data, job, served adapter. While its script follows
// the job, a second client pauses and resumes it. It ends with what the example promises.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { temporaryFolder } from '../fixtures.ts';
import { type Controlled, controlJob } from './control-job.ts';
import { startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';
import { fetchBase } from './served.ts';

const run = promisify(execFile);
const EXAMPLE = path.resolve('examples/train-then-serve');
/** Of rows answered exactly. */
const WANTED = 0.75;
const STEPS = 60;

const base = await fetchBase();
const python = await pythonWith(path.join(EXAMPLE, 'requirements.txt'));
const example = await makeExample();
const skip = [base, example].flatMap((part) => ('reason' in part ? part.reason : []))[0] ?? false;
const skipPython = skip || ('reason' in python ? python.reason : false);

/** A copy of the example with its packages and its data, or why it can't be had. */
async function makeExample(): Promise<{ dir: string } | { reason: string }> {
  const dir = temporaryFolder({ after: (end) => process.on('exit', end) });
  try {
    await cp(EXAMPLE, dir, {
      recursive: true,
      filter: (file) => !/node_modules|data$/.test(path.relative(EXAMPLE, file)),
    });
    await run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: dir });
    await run('npm', ['run', 'data'], { cwd: dir });
    return { dir };
  } catch (error) {
    return { reason: `the example's packages can't be had: ${error}` };
  }
}

interface Client {
  /** Of the example. */
  readonly script: readonly [string, string];
  control(baseUrl: string, trainingFile: string): Promise<Controlled>;
}

async function runExample(t: TestContext, { script, control }: Client): Promise<void> {
  assert.ok('dir' in base && 'dir' in example);
  const server = await startServing(['--model', base.dir], temporaryFolder(t));
  t.after(() => server.stop());
  const baseUrl = `${server.url}/v1`;
  const [command, file] = script;
  const env = { ...process.env, OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: 'none' };
  const [{ stdout }, seen] = await Promise.all([
    run(command, [file], { cwd: example.dir, env }),
    control(baseUrl, path.join(example.dir, 'data', 'validation.jsonl')),
  ]);
  t.diagnostic(stdout.trim().split('\n').at(-1)!);
  assertShares(stdout, seen);
  assertControlled(seen);
}

function assertShares(printed: string, { model }: Controlled): void {
  const shares = [...printed.matchAll(/^(\S+): exact match ([\d.]+) of 200 rows$/gm)];
  assert.deepEqual(
    shares.map(([, name]) => name),
    ['base', model],
  );
  assert.equal(Number(shares[0]![2]), 0);
  assert.ok(Number(shares[1]![2]) >= WANTED, shares[1]![0]);
}

function assertControlled(seen: Controlled): void {
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
    Array.from({ length: STEPS }, (_, i) => i + 1),
  );
  assert.deepEqual(seen.messages.slice(0, 2), [
    'The job has successfully completed',
    `New fine-tuned model created: ${seen.model}`,
  ]);
  assert.deepEqual(
    seen.checkpoints.map(({ step }) => step),
    [STEPS],
  );
  const [header, ...lines] = seen.table.trim().split('\n');
  assert.match(header!, /^step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy/);
  assert.equal(lines.length, STEPS);
}

test('openai-node trains, pauses, resumes and cancels, and is answered by what it trained', {
  skip,
}, async (t) => {
  await runExample(t, { script: [process.execPath, 'fine-tune.mjs'], control: controlJob });
});

test('openai-python does the same', { skip: skipPython }, async (t) => {
  assert.ok('python' in python);
  const control = async (baseUrl: string, trainingFile: string) => {
    const env = { ...process.env, OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: 'none' };
    const script = path.resolve('test/e2e/control_job.py');
    const { stdout } = await run(python.python, [script, trainingFile], { env });
    return JSON.parse(stdout) as Controlled;
  };
  await runExample(t, { script: [python.python, 'fine_tune.py'], control });
});
