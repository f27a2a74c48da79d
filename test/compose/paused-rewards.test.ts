// A pause lets a step end, with all that it asks of the engine in the trainer's process.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { handleRequest } from '../../src/compose/trainer.ts';
import { temporaryFolder } from '../fixtures.ts';
import { TOY, writeRows } from '../trainer/toy-runs.ts';

const JUDGE = {
  ...{ type: 'score_model', name: 'judge', model: 'base' },
  input: [{ role: 'user', content: 'Rate {{sample.output_text}}' }],
  sampling_params: { max_completions_tokens: 8 },
};

test('the questions of graders are answered after a pause, and the run can be resumed', async (t) => {
  process.env['LORIKEET_HOME'] = temporaryFolder(t);
  const row = { messages: [{ role: 'user', content: 'What is 1?' }] };
  const settings = {
    ...{ model: TOY, data: writeRows(t, [row, row]), validation: writeRows(t, [row]) },
    ...{ objective: 'reinforcement', grader: JUDGE, completions: 2, completionLength: 4 },
    ...{ batchSize: 2, rank: 4, threads: 1 },
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
        if (message.type !== 'event' || message.level === 'warn') return;
        events.push(message.code);
        if (message.code === 'started') pause.abort();
      },
    },
  );
  assert.deepEqual(events, ['started', 'evaluated', 'checkpoint', 'paused']);
});
