// OpenAI's client creates, follows, lists and cancels batches. Their lines are answered as single requests are.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI, { toFile } from 'openai';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { openBatches, type ResultLine } from '../batches/simulated.ts';
import { until } from '../until.ts';
import { connect } from './openai-client.ts';
import { assertRefused, type Served, serve, utf8 } from './served.ts';
import { filesSide } from './with-jobs.ts';

/** Repeats the last letters of the prompt, with the adapter's name. */
const reply = (promptIds: readonly number[], adapter: string | undefined) => [
  ...utf8(adapter === undefined ? 'base:' : 'adapter:'),
  ...promptIds.slice(-24, -16),
];

async function serveBatches() {
  const store = createMemoryStore();
  const jobs = filesSide({ store });
  const batches = openBatches({ store, answer: (line) => served.answerLine(line) });
  const served: Served = serve({
    jobs,
    batches: batches.service,
    adapters: ['red', 'blue'],
    reply,
  });
  batches.worker.start();
  const client = await connect(served);
  return { ...served, batches, client };
}

type Endpoint = OpenAI.BatchCreateParams['endpoint'];

/** Creates a batch with these bodies, and returns it once it has ended. */
async function run(client: OpenAI, endpoint: Endpoint, bodies: readonly object[]) {
  const lines = bodies.map((body, i) => {
    return JSON.stringify({ custom_id: `${i}`, method: 'POST', url: endpoint, body });
  });
  const file = await client.files.create({
    file: await toFile(Buffer.from(lines.join('\n')), 'lines.jsonl'),
    purpose: 'batch',
  });
  const window = { completion_window: '24h' } as const;
  const { id } = await client.batches.create({ input_file_id: file.id, endpoint, ...window });
  return until('the end of the batch', async () => {
    const batch = await client.batches.retrieve(id);
    return batch.completed_at !== undefined || batch.failed_at !== undefined ? batch : undefined;
  });
}

async function results(client: OpenAI, file: string | undefined | null): Promise<ResultLine[]> {
  const text = await (await client.files.content(file!)).text();
  const lines = text.trim().split('\n');
  return lines
    .map((line) => JSON.parse(line) as ResultLine)
    .sort((a, b) => Number(a.custom_id) - Number(b.custom_id));
}

const chat = (content: string, changes: object = {}) => ({
  model: 'base',
  messages: [{ role: 'user', content }],
  ...changes,
});
const schema = { type: 'object', properties: { a: { enum: [1] } }, required: ['a'] };
const CASES: readonly (readonly [Endpoint, readonly object[]])[] = [
  [
    '/v1/chat/completions',
    [
      chat('plain'),
      chat('an adapter', { model: 'red' }),
      chat('another one', { model: 'blue', max_tokens: 3 }),
      chat('logprobs', { logprobs: true, top_logprobs: 2 }),
      chat('choices', { n: 2, stop: 'c' }),
      chat('constraint', {
        response_format: { type: 'json_schema', json_schema: { name: 'x', schema } },
      }),
      chat('tools', {
        tools: [{ type: 'function', function: { name: 'f', parameters: schema } }],
        tool_choice: 'required',
      }),
      chat('unknown', { model: 'unknown' }),
      chat('wrong', { temperature: 9 }),
      chat('unknown field', { nonsense: 1 }),
    ],
  ],
  ['/v1/completions', [{ model: 'red', prompt: ['a prompt', 'another'], logprobs: 1 }]],
  ['/v1/embeddings', [{ model: 'base', input: ['one', 'two'] }]],
  ['/v1/responses', [{ model: 'blue', input: 'Hello', max_output_tokens: 5 }]],
];

/** Ids and times differ between two requests. What was cached depends on the requests before. */
const comparable = (value: unknown) =>
  JSON.parse(
    JSON.stringify(value, (key, inner) =>
      ['id', 'created', 'created_at', 'completed_at', 'cached_tokens', 'call_id'].includes(key)
        ? null
        : inner,
    ),
  );

for (const [endpoint, bodies] of CASES) {
  test(`a batch answers its lines as single requests are: ${endpoint}`, async () => {
    const { client, post } = await serveBatches();
    const batch = await run(client, endpoint, bodies);
    assert.equal(batch.status, 'completed', JSON.stringify(batch.errors));
    const output = await results(client, batch.output_file_id);
    const errors = batch.error_file_id ? await results(client, batch.error_file_id) : [];
    const { total, completed, failed } = batch.request_counts!;
    assert.deepEqual([total, completed, failed], [bodies.length, output.length, errors.length]);
    for (const { custom_id, response, error } of [...output, ...errors]) {
      const single = await post(endpoint, bodies[Number(custom_id)]);
      assert.equal(response?.status_code, single.status);
      assert.deepEqual(comparable(response?.body), comparable(await single.json()));
      assert.match(response!.request_id, /^req_/);
      assert.equal(error, null);
    }
  });
}

describe('the batch object', () => {
  test('has the fields of OpenAI, and the batch is in the list', async () => {
    const { client } = await serveBatches();
    const batch = await run(client, '/v1/completions', [{ model: 'base', prompt: 'x' }]);
    const { id, input_file_id, output_file_id, created_at, usage } = batch;
    assert.match(id, /^batch-[0-9a-f]{24}$/);
    assert.equal(batch.model, 'base');
    assert.equal(batch.expires_at, created_at + 24 * 3600);
    assert.ok(usage!.input_tokens > 0 && usage!.output_tokens > 0);
    assert.equal(usage!.total_tokens, usage!.input_tokens + usage!.output_tokens);
    assert.ok(batch.in_progress_at! <= batch.completed_at!);
    const listed: string[] = [];
    for await (const one of client.batches.list({ limit: 1 })) listed.push(one.id);
    assert.deepEqual(listed, [id]);
    const file = await client.files.retrieve(output_file_id!);
    assert.equal(file.purpose, 'batch_output');
    assert.notEqual(file.id, input_file_id);
  });

  test('of a faulty file lists what is wrong with it', async () => {
    const { client } = await serveBatches();
    const batch = await run(client, '/v1/completions', [
      { model: 'base', prompt: 'x', stream: true },
    ]);
    assert.equal(batch.status, 'failed');
    const [error] = batch.errors!.data!;
    assert.deepEqual([error?.line, error?.param], [1, 'body.stream']);
  });

  test('can be cancelled only before the end', async () => {
    const { client } = await serveBatches();
    const { id } = await run(client, '/v1/completions', [{ model: 'base', prompt: 'x' }]);
    await assert.rejects(client.batches.cancel(id), /is completed, so it cannot be cancelled/);
    await assert.rejects(client.batches.retrieve('batch-unknown'), OpenAI.NotFoundError);
  });
});

test('a request for a batch is checked', async () => {
  const { post } = await serveBatches();
  const whole = { input_file_id: 'file-1', endpoint: '/v1/embeddings', completion_window: '24h' };
  for (const [changes, param] of [
    [{ endpoint: '/v1/moderations' }, 'endpoint'],
    [{ completion_window: '1h' }, 'completion_window'],
    [
      { output_expires_after: { anchor: 'created_at', seconds: 60 } },
      'output_expires_after.seconds',
    ],
    [{ input_file_id: undefined }, 'input_file_id'],
    [{ nonsense: 1 }, 'nonsense'],
  ] as const) {
    const response = await post('/v1/batches', { ...whole, ...changes });
    await assertRefused(response, { status: 400, param });
  }
  await assertRefused(await post('/v1/batches', whole), { status: 404, param: 'input_file_id' });
});
