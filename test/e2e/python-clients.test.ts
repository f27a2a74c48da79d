// Clients of Python that people use, unchanged, each in a process of its own: what they send is taken, an answer can be sent
// back as they keep it, and they know the error of a conversation that is too long. Their structured output and their tools
// end tasks on the real base.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { startServer } from '../../src/http/wire/server.ts';
import { serve, utf8 } from '../http/served.ts';
import { type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';
import { fetchBase, preparedHome } from './served.ts';

const run = promisify(execFile);
const python = await pythonWith(path.resolve('test/e2e/python-clients.txt'));
const skip = 'reason' in python ? python.reason : false;

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

/** Resolves to the line of JSON that a script prints at its end. */
async function runScript(name: string, client: string, url: string, model: string) {
  assert.ok('python' in python);
  const script = path.resolve('test/e2e', name);
  const { stdout } = await run(python.python, [script, client, `${url}/v1`, model], {
    env: {
      PATH: process.env['PATH'],
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      HOME: path.dirname(python.python),
    },
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as unknown;
}
const talk = (client: string) => runScript('python_clients.py', client, server.url, 'alpha');

const LONG = 'context_length_exceeded';

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

for (const client of ['openai', 'langchain', 'litellm']) {
  test(`${client} embeds texts, and knows what is too long`, { skip }, async () => {
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

test('clients get an object, asking for JSON in words', { skip }, async () => {
  assert.deepEqual(await talk('words'), {
    'instructor JSON': 'Hello',
    'instructor MD_JSON': 'Hello',
    'pydantic-ai prompted': 'Hello',
    'langchain json_mode': 'Hello',
  });
});

const base = await fetchBase();

describe('structured output and tools', {
  skip: skip || ('reason' in base ? base.reason : false),
}, () => {
  let serving: Serving;
  before(async () => {
    assert.ok('dir' in base);
    serving = await startServing(['--model', base.dir], await preparedHome(base.dir, { after }));
  });
  after(() => serving.stop());

  const paris = (...ways: string[]) => Object.fromEntries(ways.map((way) => [way, 'Paris']));
  for (const [client, ended] of Object.entries({
    openai: paris(
      'parse',
      'stream',
      'stream_tools',
      'responses_parse',
      'responses_stream',
      'responses_create',
    ),
    instructor: paris('TOOLS', 'TOOLS_STRICT', 'JSON_SCHEMA'),
    'pydantic-ai': {
      ...paris('tools', 'native', 'responses tools', 'responses native'),
      'agent auto': 'Report',
      'responses agent auto': 'Report',
    },
    'openai-agents': {
      'agent auto': 'Report',
      ...paris('tools', 'output', 'responses tools', 'responses output'),
      handoff: 'expert',
      'responses handoff': 'expert',
    },
    langchain: {
      'agent auto': 'Report',
      ...paris('tools', 'schema', 'responses tools', 'responses schema'),
      ...paris('bind_tools', 'responses bind_tools', 'agent'),
    },
    'llama-index': paris('tools', 'schema', 'agent'),
  })) {
    test(`${client} ends a task in each of its ways`, async () => {
      assert.deepEqual(
        await runScript('structured_clients.py', client, serving.url, 'base'),
        ended,
      );
    });
  }
});
