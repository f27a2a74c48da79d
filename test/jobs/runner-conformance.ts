// The contract of every runner: ends as the trainer reported them, messages in order, files that can be read while their
// message is handled, and runs that continue from their checkpoint.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import { type JobRunner, type RunEnd, type RunRequest, RunStop } from '../../src/jobs/runner.ts';
import { temporaryFolder } from '../fixtures.ts';
import { pluck } from '../pluck.ts';

/** Entries of the fake trainer's script. */
export type Script = readonly (readonly [action: string, ...given: unknown[]])[];

/** A runner for one test, whose trainer is `fake-trainer.mjs`. */
export type CreateRunner = (t: TestContext) => JobRunner | Promise<JobRunner>;

const fault = { code: 'non_finite_loss', message: 'step 3: the loss is not finite', param: null };

let tokens = 0;

/** A job's work in a folder of its own, its data beside its run. Every call is under a later lease. */
export function workOf(
  t: TestContext,
  script: Script,
  changes: Partial<RunRequest> = {},
): RunRequest {
  const dir = temporaryFolder(t);
  const data = path.join(dir, 'file-1.jsonl');
  writeFileSync(data, '{"text": "a row"}');
  return {
    jobId: 'ftjob-1',
    tenant: 'local',
    fencingToken: ++tokens,
    runDir: path.join(dir, 'run'),
    gate: { margin: 0.1 },
    job: { model: '/here/model', data, script },
    isResume: false,
    ...changes,
  };
}

/** Under the next lease. */
export function again(work: RunRequest, changes: Partial<RunRequest> = {}): RunRequest {
  return { ...work, fencingToken: ++tokens, isResume: true, ...changes };
}

/** A run that a test follows. */
export interface FollowedRun {
  readonly stop: RunStop;
  /** Grows while the run goes on. */
  readonly messages: readonly TrainerMessage[];
  readonly ended: Promise<RunEnd>;
}

/** Starts a run. The next message comes when `handle` has resolved. */
export function startRun(
  runner: JobRunner,
  work: RunRequest,
  handle: (message: TrainerMessage, stop: RunStop) => void | Promise<void> = () => {},
): FollowedRun {
  const stop = new RunStop();
  const messages: TrainerMessage[] = [];
  const follow = async () => {
    let end: RunEnd | undefined;
    for await (const message of runner.run(work, stop.signals)) {
      assert.equal(end, undefined, 'the end comes last');
      if (message.type === 'end') {
        end = message.end;
        continue;
      }
      messages.push(message);
      await handle(message, stop);
    }
    assert.ok(end, 'every run has an end');
    return end;
  };
  return { stop, messages, ended: follow() };
}

/** Follows a run to its end. */
export async function run(
  ...given: Parameters<typeof startRun>
): Promise<{ end: RunEnd; messages: readonly TrainerMessage[] }> {
  const { messages, ended } = startRun(...given);
  return { end: await ended, messages };
}

const textOf = (messages: readonly TrainerMessage[], code: string) =>
  messages.flatMap((told) => (told.type === 'event' && told.code === code ? told.message : []));

type Body = (runner: JobRunner, t: TestContext) => Promise<void>;
type RunnerTest = (title: string, body: Body) => void;

export function testRunner(name: string, createRunner: CreateRunner): void {
  const runnerTest: RunnerTest = (title, body) =>
    void test(`${name}: ${title}`, async (t) => body(await createRunner(t), t));
  testEnds(runnerTest);
  testMessages(runnerTest);
  testStops(runnerTest);
}

function testEnds(runnerTest: RunnerTest): void {
  runnerTest(
    'a run that succeeds leaves its adapter and its table to be read',
    async (runner, t) => {
      const work = workOf(t, [['tellStart'], ['steps', 3], ['trained']]);
      const { end, messages } = await run(runner, work);
      assert.deepEqual(end, { kind: 'succeeded' });
      const start = JSON.parse(textOf(messages, 'start')[0]!);
      assert.deepEqual([start.command, start.data], ['train', '{"text": "a row"}']);
      const steps = messages.flatMap((told) => (told.type === 'step' ? told.step : []));
      assert.deepEqual(steps, [1, 2, 3]);
      assert.deepEqual(pluck(messages.slice(-2), 'type'), ['card', 'trained']);
      const trained = messages.at(-1) as TrainerMessage & { type: 'trained' };
      const adapter = path.join(trained.directory, 'adapter_model.safetensors');
      assert.equal(readFileSync(adapter, 'utf8'), 'adapter');
      assert.equal(readFileSync(trained.resultFile!, 'utf8'), 'step,loss');
    },
  );

  runnerTest('a failed run has its reason', async (runner, t) => {
    const script: Script = [
      ['steps', 1],
      ['send', { type: 'fault', ...fault }],
      ['exit', 1],
    ];
    const { end } = await run(runner, workOf(t, script));
    assert.deepEqual(end, { kind: 'failed', error: fault });
  });

  runnerTest('a killed trainer is lost, but its earlier messages are not', async (runner, t) => {
    const script: Script = [
      ['event', 'warned', 'beware'],
      ['die', 'SIGKILL'],
    ];
    const { end, messages } = await run(runner, workOf(t, script));
    assert.equal(end.kind, 'lost');
    assert.match(JSON.stringify(end), /"trainer_lost"/);
    assert.deepEqual(textOf(messages, 'warned'), ['beware']);
  });
}

function testMessages(runnerTest: RunnerTest): void {
  runnerTest(
    'messages are handled one after another; the run ends after the last',
    async (runner, t) => {
      const seen: string[] = [];
      await run(runner, workOf(t, [['steps', 20], ['trained']]), async (message) => {
        const told = message.type === 'step' ? `step ${message.step}` : message.type;
        seen.push(`begin ${told}`);
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(`end ${told}`);
      });
      const names = [...Array.from({ length: 20 }, (_, i) => `step ${i + 1}`), 'card', 'trained'];
      assert.deepEqual(
        seen,
        names.flatMap((told) => [`begin ${told}`, `end ${told}`]),
      );
    },
  );

  runnerTest('a snapshot can be read while its message is handled', async (runner, t) => {
    const seen: string[] = [];
    const script: Script = [['snapshot', 2], ['snapshot', 4], ['trained']];
    await run(runner, workOf(t, script), (message) => {
      if (message.type !== 'snapshot') return;
      const file = path.join(message.directory, 'adapter_model.safetensors');
      seen.push(readFileSync(file, 'utf8'));
    });
    assert.deepEqual(seen, ['adapter of step 2', 'adapter of step 4']);
  });

  runnerTest('a checkpoint is in the run folder when its message is handled', async (runner, t) => {
    const work = workOf(t, [['checkpoint', 5], ['trained']]);
    const seen: boolean[] = [];
    await run(runner, work, (message) => {
      if (message.type !== 'event' || message.code !== 'checkpoint') return;
      seen.push(existsSync(path.join(work.runDir, 'checkpoints/step-5/state.safetensors')));
    });
    assert.deepEqual(seen, [true]);
  });
}

function testStops(runnerTest: RunnerTest): void {
  runnerTest('a paused run continues from its checkpoint', async (runner, t) => {
    const resumed: Script = [['tellStart'], ['trained']];
    const script: Script = [['checkpoint', 2], ['untilPaused'], ['checkpoint', 3], ['paused']];
    const { job } = workOf(t, script);
    const work = workOf(t, [], { job: { ...job, resumed } });
    const paused = await run(runner, work, (message, stop) => {
      if (message.type === 'event' && message.code === 'checkpoint') stop.request('pause');
    });
    assert.deepEqual(paused.end, { kind: 'paused' });
    const { end, messages } = await run(runner, again(work));
    assert.deepEqual(end, { kind: 'succeeded' });
    const start = JSON.parse(textOf(messages, 'start')[0]!);
    assert.deepEqual([start.command, start.data], ['resume', '{"text": "a row"}']);
  });

  runnerTest('a cancel ends the trainer at once, whatever it does', async (runner, t) => {
    const work = workOf(t, [['event', 'begun', ''], ['forever']]);
    const { end } = await run(runner, work, (message, stop) => {
      if (message.type === 'event' && message.code === 'begun') stop.request('cancel');
    });
    assert.deepEqual(end, { kind: 'cancelled' });
  });

  for (const [act, kind] of [
    ['pause', 'paused'],
    ['cancel', 'cancelled'],
  ] as const) {
    runnerTest(`a ${act} before there is a trainer starts none`, async (runner, t) => {
      const { stop, ended } = startRun(runner, workOf(t, [['forever']]));
      stop.request(act);
      assert.deepEqual(await ended, { kind });
    });
  }

  runnerTest(
    'planning ends with a plan, a refusal with its fault, or a lost trainer',
    async (runner, t) => {
      const plan = (script: Script, signal = new AbortController().signal) =>
        runner.plan(workOf(t, script), { signal });
      const planned = await plan([['send', { type: 'plan', plan: { totalSteps: 4 } }]]);
      assert.deepEqual(planned, { kind: 'planned', plan: { totalSteps: 4 } });
      const refused = await plan([['send', { type: 'fault', ...fault }]]);
      assert.deepEqual(refused, { kind: 'refused', error: fault });
      assert.equal((await plan([['die', 'SIGKILL']])).kind, 'lost');
      const reason = new Error('asked to');
      await assert.rejects(plan([['forever']], AbortSignal.abort(reason)), reason);
    },
  );
}
