// Clients of Python that people use, unchanged, each in a process of its own: what they send is taken, an answer can be sent
// back as they keep it, and they know the error of a conversation that is too long.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { startServer } from '../../src/http/server.ts';
import { serve, utf8 } from '../http/served.ts';
import { pythonWith } from './python-venv.ts';

const run = promisify(execFile);
const SCRIPT = path.resolve('test/e2e/python_clients.py');
const python = await pythonWith(path.resolve('test/e2e/python-clients.txt'));
const skip = 'reason' in python ? python.reason : false;

/** Says how often the assistant has spoken, and JSON to whoever wants to be greeted. */
const { app } = serve({
  adapters: ['alpha'],
  maxSeqLength: 2048,
  reply: (promptIds) => {
    const prompt = Buffer.from(promptIds.filter((id) => id < 256)).toString();
    if (prompt.includes('greet')) return utf8('```json\n{"greeting": "Hello"}\n```');
    return utf8(`Hello ${prompt.split('assistant\n').length - 1}`);
  },
});
const server = await startServer(app, { host: '127.0.0.1', port: 0 });
after(() => server.close(0));

async function talk(client: string): Promise<unknown> {
  assert.ok('python' in python);
  const { stdout } = await run(python.python, [SCRIPT, client, `${server.url}/v1`, 'alpha'], {
    env: {
      PATH: process.env['PATH'],
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      HOME: path.dirname(python.python),
    },
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

for (const [client, overflow] of [
  ['openai', 'context_length_exceeded'],
  ['openai responses', 'context_length_exceeded'],
  ['litellm', 'ContextWindowExceededError'],
  ['langchain', 'ContextOverflowError'],
  ['langchain responses', 'ContextOverflowError'],
  ['llama-index', 'context_length_exceeded'],
] as const) {
  test(`${client} chats, streams, sends answers back and knows what is too long`, {
    skip,
  }, async () => {
    assert.deepEqual(await talk(client), {
      chat: 'Hello 1',
      stream: 'Hello 1',
      turns: ['Hello 2', 'Hello 2'],
      overflow,
    });
  });
}

test('instructor gets an object, asking for JSON in words', { skip }, async () => {
  assert.deepEqual(await talk('instructor'), { greeting: 'Hello' });
});
