// The code that the playground shows, in every language: compiled as strictly as anybody may compile it, and run with
// the real clients against a server, with no parameter, with OpenAI's and with several of ours.
import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { toCurl, toPython, toTypeScript } from '../pages/chat-code.ts';
import { execute } from './execute.ts';
import { runLorikeet, type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';
import { runTypeScript } from './typescript-programs.ts';

const home = temporaryFolder();
symlinkSync(path.resolve('node_modules'), path.join(home, 'node_modules'));

const python = await pythonWith('examples/train-then-serve/requirements.txt');
let servers: { keyless: Serving; keyed: Serving };
let key = '';
before(async () => {
  const args = ['--model', path.resolve('models/toy'), '--slots', '2'];
  const keyedHome = path.join(home, 'keyed');
  const { out } = await runLorikeet(['keys', 'create', '--tenant', 'acme', '--json'], keyedHome);
  ({ key } = JSON.parse(out));
  const [keyless, keyed] = await Promise.all([
    startServing(args, path.join(home, 'keyless')),
    startServing(args, keyedHome),
  ]);
  servers = { keyless, keyed };
});
after(async () => {
  await Promise.all([servers?.keyless.stop(), servers?.keyed.stop()]);
});

const MESSAGES = [
  { role: 'system', content: 'Be "brief" & don\'t use $HOME.' },
  { role: 'user', content: 'Hello\n`there`' },
  { role: 'assistant', content: 'Hi.' },
  { role: 'user', content: 'And?' },
];
const BODIES: Readonly<Record<string, Record<string, unknown>>> = {
  'no parameters': { model: 'base', messages: MESSAGES },
  "OpenAI's parameters": {
    model: 'base',
    messages: MESSAGES,
    temperature: 0,
    max_tokens: 4,
    stop: ['\n\n', "'"],
    logprobs: true,
    top_logprobs: 5,
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'answer', schema: { type: 'integer' } },
    },
  },
  'several of our own parameters': {
    model: 'base',
    messages: MESSAGES,
    max_tokens: 4,
    top_k: 40,
    min_p: 0.05,
    repetition_penalty: 1.1,
  },
};

for (const [name, body] of Object.entries(BODIES)) {
  for (const hasKeys of [false, true]) {
    const what = `${name}, ${hasKeys ? 'with keys' : 'without keys'}`;
    const snippet = () => {
      const { url } = hasKeys ? servers.keyed : servers.keyless;
      return { url: `${url}/v1`, hasKeys, body };
    };
    const env = () => {
      const { OPENAI_API_KEY: _, ...rest } = process.env;
      return hasKeys ? { ...rest, OPENAI_API_KEY: key } : rest;
    };

    test(`curl: ${what}`, async () => {
      const { stdout } = await execute('bash', ['-c', toCurl(snippet())], { env: env() });
      assert.equal(JSON.parse(stdout).object, 'chat.completion', stdout);
    });

    test(`TypeScript: ${what}`, async () => {
      const file = path.join(home, `${what.replace(/\W+/g, '-')}.mts`);
      const stdout = await runTypeScript(file, toTypeScript(snippet()), env());
      assert.ok(stdout.trim().length > 0 && stdout.trim() !== 'undefined', stdout);
    });

    test(`Python: ${what}`, { skip: 'reason' in python && python.reason }, async () => {
      assert.ok('python' in python);
      const { stdout } = await execute(python.python, ['-c', toPython(snippet())], { env: env() });
      assert.ok(stdout.trim().length > 0 && stdout.trim() !== 'None', stdout);
    });
  }
}
