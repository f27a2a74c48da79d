// GET /v1/organization/usage/completions, as OpenAI's client asks for it: who sees what, groups, filters, pages.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { UsageArchive } from '../../src/usage/usage-archive.ts';
import { UsageRecorder } from '../../src/usage/usage-recorder.ts';
import { pluck } from '../pluck.ts';
import { serveKeyed } from './keyed.ts';
import { assertRefused, readOk, serve, utf8 } from './served.ts';

const DAY_S = 86_400;
const DAY = Date.UTC(2026, 10, 27) / 1000;
const URL = '/v1/organization/usage/completions';
/** 3 tokens of prompt, 10 of answer. */
const body = { model: 'base', prompt: 'abc', max_tokens: 20 };

function openUsage() {
  const clock = { ms: DAY * 1000 };
  const now = () => clock.ms;
  const archive = new UsageArchive({ store: guardStore(createMemoryStore()) }, now);
  const recorder = new UsageRecorder({ archive, server: 'aa', now });
  return { clock, usage: { archive, recorder, now } };
}

/** Three days of two tenants: acme 1, 2 and 3 requests, beta one on the first day and one of its batches on the last. */
async function openServed() {
  const { clock, usage } = openUsage();
  const served = serveKeyed({
    tenants: { acme: {}, beta: {}, ops: {} },
    admins: ['ops'],
    adapters: ['zen'],
    reply: () => utf8('0123456789'),
    usage,
  });
  for (let day = 0; day < 3; day++) {
    for (let i = 0; i <= day; i++) {
      const model = i === 0 ? 'base' : 'zen';
      await readOk(await served.ask('acme', '/v1/completions', { ...body, model }));
    }
    if (day === 0) await readOk(await served.ask('beta', '/v1/completions', body));
    clock.ms += DAY_S * 1000;
  }
  clock.ms -= DAY_S * 1000;
  const { status } = await served.answerLine({
    tenant: { id: 'beta', isAdmin: false, weight: 1, limits: {}, isIdle: true },
    url: '/v1/completions',
    timeoutMs: 10_000,
    signal: AbortSignal.timeout(10_000),
    body: JSON.stringify(body),
  });
  assert.equal(status, 200);
  const client = (name: string) =>
    new OpenAI({
      baseURL: 'http://localhost/v1',
      apiKey: served.keys[name]!.text,
      adminAPIKey: served.keys[name]!.text,
      fetch: async (url, init) => served.app.request(String(url), init as RequestInit),
    }).admin.organization.usage;
  return { ...served, client };
}

test('a tenant sees its own usage, an admin the usage of all', async () => {
  const { client } = await openServed();
  const requests = async (name: string, project_ids?: string[]) => {
    const query = { start_time: DAY, ...(project_ids && { project_ids }) };
    const { data } = await client(name).completions(query);
    return data.map(
      ({ results }) => (results[0] as { num_model_requests?: number })?.num_model_requests ?? 0,
    );
  };
  assert.deepEqual(await requests('acme'), [1, 2, 3]);
  assert.deepEqual(await requests('beta'), [1, 0, 1]);
  assert.deepEqual(await requests('ops'), [2, 2, 4]);
  assert.deepEqual(await requests('ops', ['beta']), [1, 0, 1]);
  assert.deepEqual(await requests('acme', ['beta']), [0, 0, 0]);
});

test('groups by tenant, model and batch, in OpenAI’s form', async () => {
  const { client } = await openServed();
  const page = await client('ops').completions({
    start_time: DAY + 2 * DAY_S,
    group_by: ['project_id', 'model', 'batch'],
  });
  const fixed = {
    object: 'organization.usage.completions.result',
    ...{ input_audio_tokens: 0, output_audio_tokens: 0 },
    ...{ user_id: null, api_key_id: null, service_tier: null },
  };
  const result = (project_id: string, model: string, batch: boolean, count: number) => ({
    ...fixed,
    ...{ project_id, model, batch, num_model_requests: count },
    ...{ input_tokens: 3 * count, input_cached_tokens: 0, output_tokens: 10 * count },
  });
  assert.deepEqual(page, {
    object: 'page',
    data: [
      {
        object: 'bucket',
        start_time: DAY + 2 * DAY_S,
        end_time: DAY + 3 * DAY_S,
        results: [
          result('acme', 'toy', false, 1),
          result('acme', 'zen', false, 2),
          result('beta', 'toy', true, 1),
        ],
      },
    ],
    has_more: false,
    next_page: null,
  });
  const { data } = await client('ops').completions({
    start_time: DAY,
    end_time: DAY + 2 * DAY_S,
    models: ['zen'],
    batch: false,
  });
  const counts = data.map(({ results }) => results.length);
  assert.deepEqual(counts, [0, 1]);
});

test('pages follow each other', async () => {
  const { client } = await openServed();
  const starts: number[] = [];
  let page: string | undefined;
  for (let i = 0; i < 3; i++) {
    const answer = await client('acme').completions({
      start_time: DAY,
      limit: 1,
      ...(page && { page }),
    });
    starts.push(...answer.data.map(({ start_time }) => start_time));
    assert.equal(answer.has_more, i < 2);
    page = answer.next_page ?? undefined;
  }
  assert.deepEqual(starts, [DAY, DAY + DAY_S, DAY + 2 * DAY_S]);
});

test('lists may be repeated, have brackets or commas', async () => {
  const { ask } = await openServed();
  const answers = await Promise.all(
    [
      'group_by=model&group_by=batch',
      'group_by[]=model&group_by[]=batch',
      'group_by=model,batch',
    ].map(async (query) => {
      return readOk(await ask('acme', `${URL}?start_time=${DAY}&${query}`));
    }),
  );
  assert.deepEqual(answers[1], answers[0]);
  assert.deepEqual(answers[2], answers[0]);
});

test('other parameters are refused by their names', async () => {
  const { ask } = await openServed();
  for (const [query, param] of [
    ['', 'start_time'],
    [`start_time=${DAY}&bucket_width=1h`, 'bucket_width'],
    [`start_time=${DAY}&end_time=${DAY}`, 'end_time'],
    [`start_time=${DAY}&group_by=user_id`, 'group_by[0]'],
    [`start_time=${DAY}&limit=32`, 'limit'],
    [`start_time=${DAY}&api_key_ids=a`, 'api_key_ids'],
  ] as const) {
    await assertRefused(await ask('acme', `${URL}?${query}`), { status: 400, param }, query);
  }
});

test('a server without keys shows its user everything', async () => {
  const { usage } = openUsage();
  const { app, post } = serve({ usage });
  await readOk(await post('/v1/completions', body));
  usage.recorder.add({
    tenant: 'x',
    model: 'toy',
    isBatch: false,
    inputTokens: 1,
    cachedTokens: 0,
    outputTokens: 0,
  });
  const answer = await app.request(`${URL}?start_time=${DAY}&group_by=project_id`);
  const { data } = await readOk<{ data: { results: { project_id: string }[] }[] }>(answer);
  assert.deepEqual(pluck(data[0]!.results, 'project_id'), ['local', 'x']);
});
