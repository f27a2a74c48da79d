// A real base of 0.5B as a user takes it, from a GGUF file to a served adapter, and its logits next to llama.cpp's of the same file.
// LORIKEET_BASES names the folder of the file.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { ask } from '../api.ts';
import { installLlama } from '../bench/installs.ts';
import { startLlama } from '../bench/servers.ts';
import { temporaryFolder } from '../fixtures.ts';
import { gguf, importLarger, skipWithoutBase } from './larger-base.ts';
import { type Serving, serveFor, startServing, succeed } from './program.ts';
import { preparedHome } from './served.ts';

/** Texts of the kinds that the base was made for. */
const TEXTS = [
  'The capital of Greece is',
  'Water boils at a temperature of',
  'def fibonacci(n):\n    if n <',
  'SELECT name FROM users WHERE age',
  'import { readFileSync } from',
  'Once upon a time there was a little girl who',
  'Le chat est assis sur la',
  '<ul>\n  <li>One</li>\n  <li>',
];
/** The likely tokens of each text. Less likely ones differ more, and matter less. */
const TOP = 5;
/** Both round activations to 8 bits, in other groups: the differences were 0.14 on average, and 0.5 at most. */
const MAX_MEAN_DIFFERENCE = 0.2;
const MAX_DIFFERENCE = 0.8;

interface LlamaCompletion {
  readonly completion_probabilities: readonly [
    { readonly top_logprobs: readonly { readonly token: string; readonly logprob: number }[] },
  ];
}

interface Completion {
  readonly choices: readonly [
    { readonly logprobs: { readonly top_logprobs: readonly [Readonly<Record<string, number>>] } },
  ];
}

test('logits are those of llama.cpp, but for rounding', { skip: skipWithoutBase }, async (t) => {
  const dir = await importLarger('exact');
  const args = ['--model', dir, '--slots', '1', '--max-seq', '256'];
  const { url } = await serveFor(t, args, await preparedHome(dir, t));
  const size = { slots: 1, maxSeq: 256, threads: 2 };
  const binary = await installLlama();
  const llama = await startLlama({ binary, model: gguf, ...size, loras: [], extraArgs: [] });
  t.after(() => llama.stop());
  const differences: number[] = [];
  for (const text of TEXTS) {
    const request = { prompt: text, n_predict: 1, n_probs: TOP, temperature: 0 };
    const theirs = await ask<LlamaCompletion>(`${llama.url}/completion`, request);
    const body = { model: 'base', prompt: text, max_tokens: 1, logprobs: 20, temperature: 0 };
    const ours = await ask<Completion>(`${url}/v1/completions`, body);
    const [logprobs] = ours.choices[0].logprobs.top_logprobs;
    for (const { token, logprob } of theirs.completion_probabilities[0].top_logprobs) {
      assert.ok(token in logprobs, `${text}: ${token} is not among the likely tokens`);
      differences.push(Math.abs(logprobs[token]! - logprob));
    }
  }
  const mean = differences.reduce((sum, difference) => sum + difference, 0) / differences.length;
  const largest = Math.max(...differences);
  t.diagnostic(`log probabilities differ by ${mean.toFixed(3)}, at most by ${largest.toFixed(3)}`);
  assert.ok(mean <= MAX_MEAN_DIFFERENCE && largest <= MAX_DIFFERENCE);
});

describe('a base of 0.5B', { skip: skipWithoutBase }, () => {
  let [dir, home] = ['', ''];
  let serving: Serving;
  let client: OpenAI;
  before(async () => {
    dir = await importLarger();
    home = await preparedHome(dir);
    serving = await startServing(['--model', dir, '--max-seq', '1024'], home);
    client = new OpenAI({ baseURL: `${serving.url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  after(() => serving.stop());
  const answer = async (content: string, more: object = {}, model = 'base') => {
    const messages = [{ role: 'user' as const, content }];
    const request = { model, temperature: 0, max_tokens: 128, messages, ...more };
    return (await client.chat.completions.create(request)).choices[0]!.message;
  };

  test('it answers questions and writes code', async () => {
    assert.match((await answer('What is the capital of Greece?')).content!, /Athens/);
    const code = await answer('Write a Python function that returns the n-th Fibonacci number.');
    assert.match(code.content!, /def \w+\(n\)/);
  });

  test('it calls a tool if it has to', async () => {
    const parameters = {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    };
    const tool = { name: 'get_weather', description: 'The weather in a city', parameters };
    const { tool_calls: calls } = await answer('What is the weather in Paris?', {
      tools: [{ type: 'function', function: tool }],
      tool_choice: 'required',
      parallel_tool_calls: false,
    });
    assert.equal(calls?.length, 1);
    assert.ok(calls[0]!.type === 'function');
    assert.equal(calls[0]!.function.name, 'get_weather');
    assert.match(JSON.parse(calls[0]!.function.arguments).city, /Paris/);
  });

  test('it fills a schema', async () => {
    const schema = {
      type: 'object',
      properties: { name: { type: 'string' }, age: { type: 'integer' } },
      required: ['name', 'age'],
      additionalProperties: false,
    };
    const { content } = await answer('Extract: Ada Lovelace was 36 years old.', {
      response_format: { type: 'json_schema', json_schema: { name: 'person', schema } },
    });
    assert.deepEqual(JSON.parse(content!), { name: 'Ada Lovelace', age: 36 });
  });

  test('it is trained, and the server answers with the adapter', async (t) => {
    const file = path.join(temporaryFolder(t), 'tickets.jsonl');
    const tickets = 'examples/tickets';
    const rows = spawnSync(process.execPath, [`${tickets}/to-rows.mjs`, `${tickets}/tickets.csv`]);
    writeFileSync(file, rows.stdout);
    const flags = ['--epochs', '2', '--validation-split', '0.2', '--compute', 'int8'];
    await succeed(['train', '--model', dir, '--data', file, '--name', 'tickets', ...flags], home);
    const teams = { 'Someone hacked my login': 'account', 'I was charged twice': 'billing' };
    for (const [message, team] of Object.entries(teams)) {
      assert.equal((await answer(message, {}, 'tickets')).content, team);
    }
  });
});
