// Whole runs that learn from rewards, with the engine in the trainer's process.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { handleRequest } from '../../src/compose/trainer.ts';
import { temporaryFolder } from '../fixtures.ts';
import { TOY, writeRows } from '../trainer/toy-runs.ts';

const JUDGE = {
  ...{ type: 'score_model', name: 'judge', model: 'base' },
  input: [{ role: 'user', content: 'Rate {{sample.output_text}}' }],
  sampling_params: { max_completions_tokens: 8 },
};
const ALWAYS = {
  ...{ type: 'string_check', name: 'always', operation: 'ne' },
  ...{ input: '{{sample.output_text}}', reference: 'no such text' },
};

/** Trains on the toy base. Returns the events without warnings and repetitions. @param pausedIn the phase that pauses the run */
async function train(
  t: TestContext,
  overrides: Record<string, unknown>,
  pausedIn?: string,
): Promise<string[]> {
  process.env['LORIKEET_HOME'] = temporaryFolder(t);
  const row = { messages: [{ role: 'user', content: 'What is 1?' }] };
  const settings = {
    ...{ model: TOY, data: writeRows(t, [row, row]), validation: writeRows(t, [row]) },
    ...{ objective: 'reinforcement', completions: 2, completionLength: 4 },
    ...{ batchSize: 2, rank: 4, threads: 1, ...overrides },
  };
  const pause = new AbortController();
  const events: string[] = [];
  await handleRequest(
    {
      ...{ command: 'train', outDir: path.join(temporaryFolder(t), 'run'), tenant: 'local' },
      ...{ job: { file: undefined, overrides: settings }, adaptersDir: undefined },
    },
    {
      signal: pause.signal,
      listen() {},
      send(message) {
        if (message.type === 'progress' && message.phase === pausedIn) pause.abort();
        if (message.type !== 'event' || message.level === 'warn') return;
        if (message.code !== events.at(-1)) events.push(message.code);
      },
    },
  );
  return events;
}

test('the questions of graders are answered after a pause, and the run can be resumed', async (t) => {
  const events = await train(t, { grader: JUDGE }, 'step 1');
  assert.deepEqual(events, ['started', 'evaluated', 'checkpoint', 'paused']);
});

test('a run whose base has the highest reward ends early, and its adapter is published', async (t) => {
  const adapters = temporaryFolder(t);
  const named = { name: 'solved', adapters, gate: true };
  const events = await train(t, { grader: ALWAYS, epochs: 30, ...named });
  const ended = ['solved', 'evaluated', 'published', 'succeeded'];
  assert.deepEqual(events, ['started', 'evaluated', 'checkpoint', ...ended]);
  assert.ok(existsSync(path.join(adapters, 'solved', 'adapter_model.safetensors')));
});
