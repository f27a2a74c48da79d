// Clients of Python that people use, unchanged, each in a process of its own: what they send is taken, an answer can be sent
// back as they keep it, and they know the error of a conversation that is too long. What they do on the real base
// is in clients.test.ts.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after } from 'node:test';
import { startServer } from '../../src/http/wire/server.ts';
import { serve, utf8 } from '../http/served.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { execute } from './execute.ts';
import { clientEnvironment, pythonWith } from './python-venv.ts';

const python = skipUnlessLong
  ? { reason: skipUnlessLong }
  : await pythonWith(path.resolve('test/e2e/python-clients.txt'));
const skip = 'reason' in python ? python.reason : false;
const test = testUnless(skip);

/** Says how often the assistant has spoken. Says JSON to whoever wants to be greeted, in a block if they want one. */
const { app } = serve({
  adapters: ['alpha'],
  maxSeqLength: 2048,
  reply: (promptIds) => {
    const prompt = Buffer.from(promptIds.filter((id) => id < 256)).toString();
    const fence = '```';
    if (prompt.includes(`${fence}json`))
      return utf8(`${fence}json\n{"greeting": "Hello"}\n${fence}`);
    if (prompt.includes('greet')) return utf8('{"greeting":"Hello"}');
    return utf8(`Hello ${prompt.split('assistant\n').length - 1}`);
  },
});
const server = await startServer(app, { host: '127.0.0.1', port: 0 });
after(() => server.close(0));

/** Resolves to the line of JSON that the script prints at its end. */
async function talk(client: string) {
  assert.ok('python' in python);
  const script = path.resolve('test/e2e/python_clients.py');
  const { stdout } = await execute(python.python, [script, client, `${server.url}/v1`, 'alpha'], {
    env: clientEnvironment(path.dirname(python.python)),
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as unknown;
}

const LONG = 'context_length_exceeded';

for (const [client, overflow] of [
  ['openai', 'context_length_exceeded'],
  ['openai responses', 'context_length_exceeded'],
  ['litellm', 'ContextWindowExceededError'],
  ['langchain', 'ContextOverflowError'],
  ['langchain responses', 'ContextOverflowError'],
  ['llama-index', 'context_length_exceeded'],
] as const) {
  test(`${client} chats, streams, sends answers back and knows what is too long`, async () => {
    assert.deepEqual(await talk(client), {
      chat: 'Hello 1',
      stream: 'Hello 1',
      turns: ['Hello 2', 'Hello 2'],
      overflow,
    });
  });
}

for (const client of ['openai', 'langchain', 'litellm']) {
  test(`${client} embeds texts, and knows what is too long`, async () => {
    const { vectors, overflow } = (await talk(`${client} embeddings`)) as {
      vectors: number[][];
      overflow: string;
    };
    const unit = (sum: number, count: number) => {
      const length = Math.hypot(sum, count);
      return [sum, count].map((value) => Number((value / length).toFixed(5)));
    };
    // The first two numbers of the hidden states are the token and 1.
    assert.deepEqual(vectors, [unit(97, 1), unit(98 + 99, 2)]);
    assert.equal(overflow, LONG);
  });
}

test('clients get an object, asking for JSON in words', async () => {
  assert.deepEqual(await talk('words'), {
    'instructor JSON': 'Hello',
    'instructor MD_JSON': 'Hello',
    'pydantic-ai prompted': 'Hello',
    'langchain json_mode': 'Hello',
  });
});
