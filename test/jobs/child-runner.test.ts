// The child runner reports every end of its process. The trainer is a script here; `test/e2e` has the real one.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { type ChildRunnerOptions, createChildRunner } from '../../src/jobs/child-runner.ts';
import { type RunEnd, type RunRequest, RunStop } from '../../src/jobs/runner.ts';
import { countOomKills } from '../../src/jobs/trainer-child.ts';
import { temporaryFolder } from '../fixtures.ts';
import { run as follow, type Script, testRunner, workOf } from './runner-conformance.ts';

const entry = new URL('./fake-trainer.mjs', import.meta.url);
const log = { info() {}, warn() {} };

function runner(options: Partial<ChildRunnerOptions> = {}) {
  return createChildRunner({ log, entry, ...options });
}

/** Runs a script to its end. */
function run(
  t: TestContext,
  script: Script,
  {
    options = {},
    ...changes
  }: Partial<RunRequest> & { options?: Partial<ChildRunnerOptions> } = {},
): Promise<{ end: RunEnd; messages: readonly TrainerMessage[] }> {
  return follow(runner(options), workOf(t, script, changes));
}

const codeOf = (end: RunEnd) => ('error' in end ? end.error.code : undefined);

testRunner('as a child process', () => runner());

test('a job that needs more memory than the server leaves to it is refused with both figures', async (t) => {
  const script: Script = [['send', { type: 'plan', plan: { memoryBytes: 2 ** 30 } }]];
  const plan = (planMemory?: number) =>
    runner(planMemory === undefined ? {} : { planMemory }).plan(workOf(t, script), {
      signal: new AbortController().signal,
    });
  const refused = await plan(2 ** 29);
  assert.ok(refused.kind === 'refused');
  assert.equal(refused.error.code, 'out_of_memory');
  assert.match(refused.error.message, /takes about 1024 MiB.* leaves 512 MiB .*--train-memory/);
  for (const bytes of [undefined, 2 ** 30]) assert.equal((await plan(bytes)).kind, 'planned');
});

test('a trainer that ends without a report is lost, with its exit code or signal', async (t) => {
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

test('settings of any size reach the trainer', async (t) => {
  const targets = Array.from({ length: 64 }, () => 'x'.repeat(4096));
  const { end, messages } = await run(t, [['tellRequest']], {
    job: { script: [['tellRequest']], targets },
  });
  const [note] = messages;
  assert.ok(note?.type === 'note', JSON.stringify(end));
  assert.deepEqual(JSON.parse(note.text).job.overrides.targets, targets);
});

test('F26: a trainer that the kernel killed because memory ran out is reported as such', async (t) => {
  const counts = [4, 5];
  const options = { countOomKills: () => counts.shift() };
  const killed = await run(t, [['die', 'SIGKILL']], { options });
  assert.equal(killed.end.kind, 'lost');
  assert.equal(codeOf(killed.end), 'out_of_memory');
  const other = await run(t, [['die', 'SIGKILL']], { options: { countOomKills: () => 4 } });
  assert.equal(codeOf(other.end), 'trainer_lost');
});

test('the kernel counts the processes that it killed', (t) => {
  if (!existsSync('/proc/vmstat')) return t.skip('Linux says so in /proc');
  assert.ok(Number.isInteger(countOomKills()));
});

test('standard error is logged and not shown to clients', async (t) => {
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

test('T26: the trainer has a low priority and, by default, half of the cores', async (t) => {
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

test('T26: a trainer that starves in the idle class goes on from its checkpoint with a low priority', async (t) => {
  let [isStarving, waitMs] = [false, 0];
  const starvation = {
    ...{ sampleMs: 5, windowMs: 10 },
    readCpuTime() {
      if (isStarving) waitMs += 100;
      return { runMs: 0, waitMs };
    },
  };
  const script: Script = [['checkpoint', 1], ['forever']];
  const resumed: Script = [['tellNiceness'], ['tellStart'], ['trained']];
  const work = workOf(t, script);
  const { end, messages } = await follow(
    runner({ priority: 'idle', starvation }),
    { ...work, job: { ...work.job, resumed } },
    (message) => {
      if (message.type === 'event' && message.code === 'checkpoint') isStarving = true;
    },
  );
  assert.deepEqual(end, { kind: 'succeeded' });
  const told = messages.map((message) =>
    message.type === 'event' ? message.code : 'text' in message ? message.text : message.type,
  );
  assert.deepEqual(told, ['checkpoint', 'starved', '10', 'start', 'card', 'trained']);
  const start = messages.find((message) => message.type === 'event' && message.code === 'start');
  assert.match(JSON.stringify(start), /resume/);
});

test('a trainer with the priority nice is not watched', async (t) => {
  const starvation = {
    ...{ sampleMs: 1, windowMs: 2 },
    readCpuTime: () => assert.fail('its time was read'),
  };
  const script: Script = [['steps', 50], ['trained']];
  const { end } = await run(t, script, { options: { priority: 'nice', starvation } });
  assert.deepEqual(end, { kind: 'succeeded' });
});

test('a resumed run gets the paths of this machine', async (t) => {
  const runDir = path.join(temporaryFolder(t), 'run');
  mkdirSync(runDir);
  const elsewhere = { model: '/there/model', data: '/there/rows.jsonl', epochs: 3 };
  writeFileSync(path.join(runDir, 'job.json'), JSON.stringify(elsewhere));
  const job = { model: '/here/model', data: '/here/rows.jsonl' };
  await run(t, [], { runDir, job, isResume: true });
  const settled = JSON.parse(readFileSync(path.join(runDir, 'job.json'), 'utf8'));
  assert.deepEqual(settled, { ...elsewhere, ...job });
});

test('a folder without a run, left by a killed trainer, gets a new run', async (t) => {
  const runDir = path.join(temporaryFolder(t), 'run');
  mkdirSync(runDir);
  writeFileSync(path.join(runDir, 'lock'), '1');
  const { messages } = await run(t, [['tellRequest']], { runDir, isResume: true });
  assert.match(JSON.stringify(messages), /command\\":\\"train\\"/);
  assert.ok(!existsSync(path.join(runDir, 'lock')));
});

test('a detached run is killed, and its checkpoint is good', async (t) => {
  const script: Script = [['checkpoint', 1], ['untilPaused'], ['checkpoint', 2], ['paused']];
  const work = workOf(t, script);
  const { end, messages } = await follow(runner(), work, (message, stop) => {
    if (message.type === 'event' && message.code === 'checkpoint') stop.request('detach');
  });
  assert.equal(codeOf(end), 'trainer_lost');
  assert.equal(messages.length, 1);
  assert.ok(existsSync(path.join(work.runDir, 'checkpoints/step-1/state.safetensors')));
});

test('a consumer that leaves the loop leaves no process behind', async (t) => {
  const work = workOf(t, [['tellPid'], ['forever']]);
  let pid = 0;
  for await (const message of runner().run(work, new RunStop().signals)) {
    if (message.type === 'note') pid = Number(message.text);
    break;
  }
  assert.throws(() => process.kill(pid, 0), /ESRCH/);
});
