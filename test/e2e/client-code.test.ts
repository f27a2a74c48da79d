// The code that the API docs show: compiled as strictly as anybody may compile it, and run with the real clients against a
// server with keys.
import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type ApiCall, LANGUAGES } from '../../src/pages/client-code.ts';
import { temporaryFolder } from '../fixtures.ts';
import { execute } from './execute.ts';
import { createKey, type Serving, startServing } from './program.ts';
import { pythonWith } from './python-venv.ts';
import { runTypeScript } from './typescript-programs.ts';

const home = temporaryFolder();
symlinkSync(path.resolve('node_modules'), path.join(home, 'node_modules'));
const line = {
  messages: [
    { role: 'user', content: '1' },
    { role: 'assistant', content: '2' },
  ],
};
writeFileSync(path.join(home, 'train.jsonl'), `${JSON.stringify(line)}\n`);

const python = await pythonWith('examples/train-then-serve/requirements.txt');
let server: Serving;
let key = '';
before(async () => {
  ({ key } = await createKey('acme', path.join(home, 'data')));
  const args = ['--model', path.resolve('models/toy'), '--slots', '2'];
  server = await startServing(args, path.join(home, 'data'));
});
after(async () => {
  await server?.stop();
});

const messages = [{ role: 'user', content: "Hello\n`there`, it's $HOME" }];
const post = (to: string, body: object) => ({ method: 'POST', path: to, body });

/** Calls, and a part of what their code prints in each language. */
const CALLS: Readonly<Record<string, readonly [Omit<ApiCall, 'server' | 'hasKeys'>, RegExp]>> = {
  'a chat with a parameter that the clients do not have': [
    post('/v1/chat/completions', { model: 'base', messages, max_tokens: 4, top_k: 5 }),
    /\S/,
  ],
  'a stream': [
    post('/v1/chat/completions', { model: 'base', messages, max_tokens: 2, stream: true }),
    /chat\.completion\.chunk/,
  ],
  'a completion': [post('/v1/completions', { model: 'base', prompt: 'a', max_tokens: 2 }), /text/],
  'a response': [
    post('/v1/responses', { model: 'base', input: 'a', max_output_tokens: 2 }),
    /output/,
  ],
  embeddings: [post('/v1/embeddings', { model: 'base', input: ['a'] }), /embedding/],
  'a message': [post('/v1/messages', { model: 'base', messages, max_tokens: 2 }), /content/],
  tokens: [post('/tokenize', { model: 'base', prompt: 'a b' }), /tokens/],
  models: [{ method: 'GET', path: '/v1/models' }, /toy/],
  'a model': [{ method: 'GET', path: '/v1/models/base' }, /toy/],
  'an upload': [
    {
      method: 'POST',
      path: '/v1/files',
      parts: [
        ['file', new File([], 'train.jsonl')],
        ['purpose', 'fine-tune'],
      ],
    },
    /train\.jsonl/,
  ],
  'a page of files': [{ method: 'GET', path: '/v1/files?limit=1' }, /train\.jsonl/],
};
/** There is no Python with Anthropic's client. */
const NOT_IN_PYTHON = 'a message';

for (const [name, [call, printed]] of Object.entries(CALLS)) {
  const program = (language: string) =>
    LANGUAGES[language]!({ ...call, server: server.url, hasKeys: true });
  const keys = () => ({ OPENAI_API_KEY: key, ANTHROPIC_API_KEY: key });
  const options = () => ({ cwd: home, env: { ...process.env, ...keys() } });

  test(`curl: ${name}`, async () => {
    const { stdout } = await execute('bash', ['-c', program('curl')], options());
    assert.match(stdout, printed);
    assert.doesNotMatch(stdout, /"error":\{/);
  });

  test(`TypeScript: ${name}`, async () => {
    const file = path.join(home, `${name.replace(/\W+/g, '-')}.mts`);
    const stdout = await runTypeScript(file, program('TypeScript'), keys());
    assert.match(stdout, printed);
  });

  test(`Python: ${name}`, { skip: 'reason' in python && python.reason }, async () => {
    assert.ok('python' in python);
    if (name === NOT_IN_PYTHON) {
      await execute(python.python, [
        '-c',
        'import ast, sys; ast.parse(sys.argv[1])',
        program('Python'),
      ]);
      return;
    }
    const { stdout } = await execute(python.python, ['-c', program('Python')], options());
    assert.match(stdout, printed);
  });
}
