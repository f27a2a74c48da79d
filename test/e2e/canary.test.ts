// A canary in everything that a client sends to a real server, through every route, with logs at their lowest level and an
// OpenTelemetry collector: nobody but the client sees it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../fixtures.ts';
import { startOtlpReceiver } from '../telemetry/otlp-receiver.ts';
import { runLorikeet, startServing } from './program.ts';

const CANARY = 'c4n4ry';
const TOY = path.resolve('models/toy');
/** The rows of a training file. */
const ROWS = 12;

const user = { role: 'user', content: `${CANARY}-message` };
const common = {
  model: 'base',
  max_tokens: 3,
  stop: [`${CANARY}-stop`],
  user: `${CANARY}-user`,
  metadata: { key: `${CANARY}-metadata` },
};
const { max_tokens: _, ...unlimited } = common;

/** Bodies that are served, by path. */
const SERVED: Readonly<Record<string, readonly object[]>> = {
  '/v1/chat/completions': [
    { ...common, messages: [user], logprobs: true, top_logprobs: 2 },
    { ...common, messages: [user], stream: true },
  ],
  '/v1/completions': [
    { ...common, prompt: `${CANARY}-prompt`, echo: true, logprobs: 1 },
    { ...common, prompt: `${CANARY}-prompt`, echo: true, stream: true },
  ],
  '/v1/responses': [
    { model: 'base', input: [user], instructions: `${CANARY}-instructions`, max_output_tokens: 3 },
  ],
  '/v1/embeddings': [{ model: 'base', input: [`${CANARY}-input`] }],
  '/tokenize': [{ model: 'base', prompt: `${CANARY}-prompt` }],
};

/** Bodies that are refused, for every route: of a wrong type, with unknown fields, and no JSON. */
const REFUSED: readonly string[] = [
  JSON.stringify({ ...common, messages: `${CANARY}-messages`, prompt: { a: CANARY } }),
  JSON.stringify({ ...unlimited, [`${CANARY}_field`]: `${CANARY}-value` }),
  JSON.stringify({ lora_name: `${CANARY}-name`, lora_path: `/${CANARY}/path`, name: CANARY }),
  `{"prompt": "${CANARY}-truncated`,
];

const rows = (line: (i: number) => object) =>
  Array.from({ length: ROWS }, (_, i) => `${JSON.stringify(line(i))}\n`).join('');

test('T37: a canary in every request, key and row is in no log, metric, span or error', async () => {
  const home = temporaryFolder();
  const create = ['keys', 'create', '--tenant', 'acme', '--admin', '--json'];
  const { key } = JSON.parse((await runLorikeet(create, home)).out) as { key: string };
  const receiver = await startOtlpReceiver();
  const server = await startServing(['--model', TOY], home, {
    LOG_LEVEL: 'trace',
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
  });
  const headers = { authorization: `Bearer ${key}` };
  const answers: { status: number; text: string }[] = [];
  const ask = async (url: string, init: RequestInit = {}) => {
    const response = await fetch(`${server.url}${url}`, {
      ...init,
      headers: { ...headers, ...(init.headers as Record<string, string>) },
    });
    const answer = { status: response.status, text: await response.text() };
    answers.push(answer);
    return answer;
  };
  const post = (url: string, body: string) =>
    ask(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  const upload = async (text: string) => {
    const form = new FormData();
    form.set('purpose', 'fine-tune');
    form.set('file', new Blob([text]), 'rows.jsonl');
    return JSON.parse((await ask('/v1/files', { method: 'POST', body: form })).text) as {
      id: string;
    };
  };
  const train = async (text: string) => {
    const { id } = await upload(text);
    return post('/v1/fine_tuning/jobs', JSON.stringify({ model: 'base', training_file: id }));
  };

  for (const [url, bodies] of Object.entries(SERVED)) {
    for (const body of bodies) {
      const { status, text } = await post(url, JSON.stringify(body));
      assert.equal(status, 200, `${url}: ${text}`);
    }
  }
  const bad = await train(rows(() => ({ prompt: `${CANARY}-row`, [`${CANARY}-field`]: 1 })));
  assert.equal(bad.status, 400);
  const good = await train(rows((i) => ({ prompt: `${CANARY}-row ${i}`, completion: CANARY })));
  assert.equal(good.status, 200, good.text);
  const { paths } = JSON.parse((await ask('/openapi.json')).text) as {
    paths: Record<string, Record<string, unknown>>;
  };
  let routes = 0;
  for (const [template, methods] of Object.entries(paths)) {
    const url = template.replaceAll(/\{\w+\}/g, `${CANARY}-parameter`);
    for (const method of Object.keys(methods)) {
      routes++;
      if (method === 'post') for (const body of REFUSED) await post(url, body);
      else await ask(url, { method: method.toUpperCase() });
    }
  }
  assert.ok(routes >= 30, `${routes} routes`);
  await fetch(`${server.url}/v1/models`, { headers: { authorization: `Bearer ${CANARY}-key` } });
  const metrics = (await ask('/metrics')).text;
  assert.equal(await server.stop(), 0, server.output.error);
  await receiver.close();

  const logs = server.output.out + server.output.error;
  assert.match(logs, /"msg":"usage"/);
  assert.ok(receiver.spans.length > 0 && receiver.metrics.length > 0);
  const collected = Buffer.concat(receiver.bodies).toString('latin1');
  const secret = /^lorikeet_[^_]+_(.+)$/.exec(key)![1]!; // base64url, which has underscores, too
  for (const [what, text] of Object.entries({ logs, metrics, collected })) {
    const at = text.indexOf(CANARY);
    assert.equal(at, -1, `${what}: …${text.slice(Math.max(0, at - 200), at + 100)}…`);
    assert.ok(!text.includes(secret), `${what} have the key`);
  }
  assert.ok(
    answers.some(({ text }) => text.includes(CANARY)),
    'the client sees the canary',
  );
  for (const { text } of answers) {
    assert.ok(!text.includes(secret) && !text.includes(home), text);
  }
});
