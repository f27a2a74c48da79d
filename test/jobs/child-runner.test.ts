// How a job's process ends is told whatever ended it; messages come in order. The trainer's program is a script here;
// the real one is under `test/e2e`.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ChildRunnerOptions, createChildRunner } from '../../src/jobs/child-runner.ts';
import { countOomKills } from '../../src/jobs/oom-kills.ts';
import type { JobWork, RunEnd } from '../../src/jobs/runner.ts';
import type { TrainerMessage } from '../../src/training.ts';
import { temporaryFolder } from '../fixtures.ts';

type Script = readonly (readonly [action: string, argument?: unknown])[];

const entry = new URL('./fake-trainer.mjs', import.meta.url);
const log = { info() {}, warn() {} };
const fault = { code: 'non_finite_loss', message: 'step 3: the loss is not finite', param: null };
const trained = { type: 'trained', directory: '/run/adapter', resultFile: '/run/result.csv' };
const pausedEvent = { type: 'event', level: 'info', code: 'paused', message: 'Paused' };

function runner(options: Partial<ChildRunnerOptions> = {}) {
  return createChildRunner({ log, entry, ...options });
}

function workOf(t: TestContext, script: Script, changes: Partial<JobWork> = {}): JobWork {
  const runDir = path.join(temporaryFolder(t), 'run');
  const work = { jobId: 'ftjob-1', tenant: 'local', token: 1, runDir, gate: { margin: 0.1 } };
  return { ...work, job: { script }, isResume: false, ...changes };
}

/** Runs a script to its end; `onMessage` may act on the run. */
async function run(
  t: TestContext,
  script: Script,
  { options = {}, ...changes }: Partial<JobWork> & { options?: Partial<ChildRunnerOptions> } = {},
): Promise<{ end: RunEnd; messages: TrainerMessage[] }> {
  const messages: TrainerMessage[] = [];
  const running = runner(options).start(workOf(t, script, changes), {
    onMessage: (message) => void messages.push(message),
  });
  return { end: await running.ended, messages };
}

const codeOf = (end: RunEnd) => ('error' in end ? end.error.code : undefined);

test('what the trainer says last is how its run ended', async (t) => {
  const succeeded = await run(t, [
    ['steps', 3],
    ['send', trained],
  ]);
  assert.deepEqual(succeeded.end, { kind: 'succeeded' });
  const failed = await run(t, [
    ['send', { type: 'fault', ...fault }],
    ['exit', 1],
  ]);
  assert.deepEqual(failed.end, { kind: 'failed', error: fault });
  const paused = await run(t, [['send', pausedEvent]]);
  assert.deepEqual(paused.end, { kind: 'paused' });
});

test('a trainer that is gone without a word is lost, with the way it went', async (t) => {
  const killed = await run(t, [
    ['steps', 2],
    ['die', 'SIGKILL'],
  ]);
  assert.equal(killed.end.kind, 'lost');
  assert.match(JSON.stringify(killed.end), /"trainer_lost".*was killed \(SIGKILL\)/);
  assert.equal(killed.messages.length, 2);
  const silent = await run(t, [['exit', 3]]);
  assert.match(JSON.stringify(silent.end), /"lost".*exit code 3/);
  const quiet = await run(t, []);
  assert.match(JSON.stringify(quiet.end), /"lost".*exit code 0/);
});

test('a trainer that the kernel killed for lack of memory is said to be', async (t) => {
  const counts = [4, 5];
  const options = { countOomKills: () => counts.shift() };
  const killed = await run(t, [['die', 'SIGKILL']], { options });
  assert.equal(killed.end.kind, 'lost');
  assert.equal(codeOf(killed.end), 'out_of_memory');
  const other = await run(t, [['die', 'SIGKILL']], { options: { countOomKills: () => 4 } });
  assert.equal(codeOf(other.end), 'trainer_lost');
});

test('the kernel tells how often it killed', (t) => {
  if (!existsSync('/proc/vmstat')) return t.skip('Linux says so in /proc');
  assert.ok(Number.isInteger(countOomKills()));
});

test('its complaints are logged, not told', async (t) => {
  const lines: unknown[] = [];
  const options = { log: { info() {}, warn: (fields: unknown) => void lines.push(fields) } };
  const { end } = await run(
    t,
    [
      ['complain', 'Error: at /secret/path\n'],
      ['exit', 1],
    ],
    { options },
  );
  assert.match(JSON.stringify(lines), /secret/);
  assert.doesNotMatch(JSON.stringify(end), /secret/);
});

test('messages are handled one after another, and the run ends after the last', async (t) => {
  const seen: string[] = [];
  const running = runner().start(
    workOf(t, [
      ['steps', 20],
      ['send', trained],
    ]),
    {
      async onMessage(message) {
        const name = message.type === 'step' ? `step ${message.step}` : message.type;
        seen.push(`begin ${name}`);
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(`end ${name}`);
      },
    },
  );
  await running.ended;
  const names = [...Array.from({ length: 20 }, (_, i) => `step ${i + 1}`), 'trained'];
  assert.deepEqual(
    seen,
    names.flatMap((name) => [`begin ${name}`, `end ${name}`]),
  );
});

test('a pause reaches the trainer, which ends with a checkpoint', async (t) => {
  const script: Script = [['steps', 1], ['untilPaused'], ['send', pausedEvent]];
  const running = runner().start(workOf(t, script), {
    onMessage: (message) => void (message.type === 'step' && running.pause()),
  });
  assert.deepEqual(await running.ended, { kind: 'paused' });
});

test('a cancel ends the trainer at once, whatever it is at', async (t) => {
  const running = runner().start(workOf(t, [['steps', 1], ['forever']]), {
    onMessage: (message) => void (message.type === 'step' && running.cancel()),
  });
  assert.deepEqual(await running.ended, { kind: 'cancelled' });
});

test('a pause or a cancel before there is a process starts none', async (t) => {
  for (const [act, kind] of [
    ['pause', 'paused'],
    ['cancel', 'cancelled'],
  ] as const) {
    const running = runner().start(workOf(t, [['forever']]), { onMessage() {} });
    running[act]();
    assert.deepEqual(await running.ended, { kind });
  }
});

test('the trainer stands back, on half of the cores where its job does not say', async (t) => {
  const { messages } = await run(t, [['tellNiceness'], ['tellRequest']], {
    options: { threads: 3 },
  });
  const [niceness, request] = messages.map((message) => 'text' in message && message.text);
  assert.equal(niceness, '10');
  assert.match(String(request), /"threads":3/);
  const own = await run(t, [], {
    options: { threads: 3 },
    job: { script: [['tellRequest']], threads: 1 },
  });
  assert.match(JSON.stringify(own.messages), /threads\\":1/);
});

test('a run goes on in its folder, with the paths of this machine', async (t) => {
  const runDir = path.join(temporaryFolder(t), 'run');
  mkdirSync(runDir);
  const elsewhere = { model: '/there/model', data: '/there/rows.jsonl', epochs: 3 };
  writeFileSync(path.join(runDir, 'job.json'), JSON.stringify(elsewhere));
  const job = { model: '/here/model', data: '/here/rows.jsonl' };
  await run(t, [], { runDir, job, isResume: true });
  const settled = JSON.parse(readFileSync(path.join(runDir, 'job.json'), 'utf8'));
  assert.deepEqual(settled, { ...elsewhere, ...job });
});

test('a folder that a killed trainer left without a run is begun anew', async (t) => {
  const runDir = path.join(temporaryFolder(t), 'run');
  mkdirSync(runDir);
  writeFileSync(path.join(runDir, 'lock'), '1');
  const { messages } = await run(t, [['tellRequest']], { runDir, isResume: true });
  assert.match(JSON.stringify(messages), /command\\":\\"train\\"/);
  assert.ok(!existsSync(path.join(runDir, 'lock')));
});

test('a plan is an answer, a refusal with its fault, or lost; an abort ends it', async (t) => {
  const plan = (script: Script, signal = new AbortController().signal) =>
    runner().plan(workOf(t, script), { signal });
  const planned = await plan([['send', { type: 'plan', plan: { totalSteps: 4 } }]]);
  assert.deepEqual(planned, { kind: 'planned', plan: { totalSteps: 4 } });
  const refused = await plan([['send', { type: 'fault', ...fault }]]);
  assert.deepEqual(refused, { kind: 'refused', error: fault });
  assert.equal((await plan([['die', 'SIGKILL']])).kind, 'lost');
  const reason = new Error('asked to');
  await assert.rejects(plan([['forever']], AbortSignal.abort(reason)), reason);
});
