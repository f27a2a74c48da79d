// Runs the code that the playground shows, and checks what it sends.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { temporaryFolder } from '../fixtures.ts';
import { toCurl, toPython, toTypeScript } from './chat-code.ts';

const url = 'http://127.0.0.1:8080/openai/v1';
const body = {
  model: "ft:toy:local:it's:abc",
  messages: [
    {
      role: 'system',
      content: 'It\'s "quoted", $HOME `date` \\ back\n\u2028\u0000 snow \u2603 \u{1f99c}',
    },
    { role: 'user', content: "'''" },
  ],
  temperature: 0,
  top_k: 40,
  min_p: 0.05,
  stop: ['\n\n', "'"],
};

test('curl: the shell passes URL, key and body unchanged', () => {
  const script = `curl() { printf '%s\\0' "$@"; }\n${toCurl({ url, hasKeys: true, body })}`;
  const environment = { ...process.env, OPENAI_API_KEY: 'a-key' };
  const { stdout } = spawnSync('bash', ['-c', script], { encoding: 'utf8', env: environment });
  const args = stdout.split('\0');
  assert.equal(args[0], `${url}/chat/completions`);
  assert.ok(args.includes('authorization: Bearer a-key'));
  assert.deepEqual(JSON.parse(args[args.indexOf('-d') + 1]!), body);
  assert.doesNotMatch(toCurl({ url, hasKeys: false, body }), /authorization/);
});

test("TypeScript: OpenAI's client sends the body unchanged, with the key from the environment", async () => {
  const asked: { body: unknown; authorization: string | undefined }[] = [];
  const server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    const { authorization } = request.headers;
    asked.push({ body: JSON.parse(Buffer.concat(chunks).toString()), authorization });
    const answer = { choices: [{ message: { content: 'Hello!' } }] };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  }).listen(0, '127.0.0.1');
  after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  process.env['OPENAI_API_KEY'] = 'a-key';
  for (const hasKeys of [true, false]) {
    const code = toTypeScript({ url: `http://127.0.0.1:${port}/v1`, hasKeys, body });
    const [imported, ...rest] = code.split('\n');
    assert.equal(imported, "import OpenAI from 'openai';");
    const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
    const said: unknown[] = [];
    const { default: OpenAI } = await import('openai');
    await AsyncFunction(
      'OpenAI',
      'console',
      rest.join('\n'),
    )(OpenAI, {
      log: (text: unknown) => said.push(text),
    });
    assert.deepEqual(said, ['Hello!']);
  }
  assert.deepEqual(
    asked.map(({ authorization }) => authorization),
    ['Bearer a-key', 'Bearer none'],
  );
  for (const { body: sent } of asked) assert.deepEqual(sent, body);
});

const python = ['python3', 'python'].find((name) => spawnSync(name, ['--version']).status === 0);

test('a request to a classifier goes to its route, in each language', async () => {
  const asked: [string | undefined, string | undefined, unknown][] = [];
  const server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    const { authorization } = request.headers;
    asked.push([request.url, authorization, JSON.parse(Buffer.concat(chunks).toString())]);
    const answer = { data: [{ label: 'good', probs: [0.25, 0.75] }] };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  }).listen(0, '127.0.0.1');
  after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const input = 'It\'s "good" \\ \u2603';
  const snippet = {
    url: `http://127.0.0.1:${port}/a/v1`,
    hasKeys: true,
    body: { model: 'm', input },
  };
  const env = { ...process.env, OPENAI_API_KEY: 'a-key', PYTHONIOENCODING: 'utf-8' };
  const run = promisify(execFile);
  const shown = [
    run(process.execPath, ['--input-type=module', '-e', toTypeScript(snippet)], { env }),
    run('bash', ['-c', toCurl(snippet)], { env }),
  ];
  for (const { stdout } of await Promise.all(shown)) assert.match(stdout, /good.*0\.25,\s*0\.75/s);
  assert.ok(
    toPython(snippet).includes(`client.post("http://127.0.0.1:${port}/a/classify", body={`),
  );
  for (const one of asked) assert.deepEqual(one, ['/a/classify', 'Bearer a-key', snippet.body]);
});

test('Python: the client gets the body; parameters that it does not have are in extra_body', {
  skip: python === undefined && 'there is no Python',
}, () => {
  const folder = temporaryFolder();
  // A client that prints its arguments and returns an answer in OpenAI's form.
  const client = `import json, types
def create(**given):
    print(json.dumps(given))
    return types.SimpleNamespace(choices=[types.SimpleNamespace(message=types.SimpleNamespace(content=''))])
class OpenAI:
    def __init__(self, **given):
        print(json.dumps(given))
        self.chat = types.SimpleNamespace(completions=types.SimpleNamespace(create=create))
`;
  writeFileSync(path.join(folder, 'openai.py'), client);
  const run = (hasKeys: boolean) => {
    const { stdout, stderr } = spawnSync(python!, ['-'], {
      input: toPython({ url, hasKeys, body }),
      encoding: 'utf8',
      env: { ...process.env, PYTHONPATH: folder, PYTHONIOENCODING: 'utf-8', PYTHONUTF8: '1' },
    });
    assert.equal(stderr, '');
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  };
  const { top_k, min_p, ...openAi } = body;
  const [made, called] = run(false);
  assert.deepEqual(made, { base_url: url, api_key: 'none' });
  assert.deepEqual(called, { ...openAi, extra_body: { top_k, min_p } });
  assert.deepEqual(run(true)[0], { base_url: url });
});
