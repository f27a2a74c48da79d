// Types README's commands and programs, in order, in a new checkout. With LORIKEET_E2E_LONG the base, its demo adapters and the
// training are those of the page, and so are the answers. Otherwise the toy base and adapters for it stand in for them. In both
// cases the toy base stands in for the one that README imports from the hub.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import OpenAI from 'openai';
import { pluck } from '../pluck.ts';
import { until } from '../until.ts';
import { openShell, PAGE_TIMEOUT_MS, typePage } from './checkout-shell.ts';
import { answerOf, examplesOf } from './documents.ts';
import { writeToyAdapter } from './toy-adapter.ts';
import { runTypeScript } from './typescript-programs.ts';

const PAGE = 'README.md';

test('the commands and programs of README work', { timeout: PAGE_TIMEOUT_MS }, async (t) => {
  const shell = await openShell(t);
  if (shell.reason) return t.skip(shell.reason);
  const at = (name: string) => path.join(shell.folder, name);
  shell.variables['LORIKEET_TRAIN_PRIORITY'] = 'nice';
  writeToyAdapter(at('my-adapters/mine'), 1);
  if (!shell.isLong) {
    writeToyAdapter(at('stand-ins/intent'), 2);
    shell.variables['LORIKEET_ADAPTERS'] = at('stand-ins');
  }
  const responses: { model: string; choices: [{ message: { content: string } }] }[] = [];
  const programs: string[] = [];
  await typePage(shell, PAGE, [
    [/^npm ci/, async () => {}], // this checkout's packages are linked
    [/ import Qwen/, (command) => shell.run(command.replace(/Qwen\S+/, 'models/toy'))],
    [/^curl/, async (command) => responses.push(await shell.ask(command))],
    [
      /^(import|const)/,
      async (program) => {
        programs.push(program); // a later program continues the earlier ones
        await runTypeScript(at('program.mts'), shell.atFreePort(programs.join('\n')), {});
      },
    ],
  ]);
  const examples = examplesOf(PAGE);
  assert.deepEqual(
    pluck(responses, 'model'),
    examples.map(({ body }) => body['model']),
  );
  for (const [i, { answer }] of examples.entries()) {
    if (shell.isLong && answer) assert.equal(answerOf(responses[i]!), answer);
  }
  assert.equal(programs.length, 2);
  const client = new OpenAI({
    baseURL: shell.atFreePort('http://127.0.0.1:8080/v1'),
    apiKey: 'any',
  });
  const findTrained = async () => {
    const [job] = (await client.fineTuning.jobs.list()).data;
    assert.notEqual(job?.status, 'failed', job?.error?.message);
    return job?.status === 'succeeded' && job;
  };
  const wait = { deadlineMs: PAGE_TIMEOUT_MS };
  const job = await until('the job of the last program', findTrained, wait);
  const answered = await client.chat.completions.create({
    model: job.fine_tuned_model!,
    messages: [{ role: 'user', content: 'I was charged twice' }],
  });
  assert.match(answered.model, /^ft:[^:]+:local:tickets:/);
});
