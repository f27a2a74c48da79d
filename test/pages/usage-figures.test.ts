// The figures of the usage page, and the days that it reads.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Resolvers, withResolvers } from '../../src/common/waiting.ts';
import type { UsagePage, UsageResult } from '../../src/contracts/usage-api.ts';
import { limitsOf, toFigures } from '../../src/pages/usage/figures.ts';
import { createUsageStore, readDays } from '../../src/pages/usage/store.ts';

const result = (tenant: string, tokens: number): UsageResult => ({
  object: 'organization.usage.completions.result',
  input_tokens: tokens,
  input_cached_tokens: 1,
  output_tokens: 1,
  input_audio_tokens: 0,
  output_audio_tokens: 0,
  num_model_requests: 2,
  project_id: tenant,
  model: null,
  batch: null,
  user_id: null,
  api_key_id: null,
  service_tier: null,
});
const bucket = (day: number, results: UsageResult[]) => ({
  object: 'bucket' as const,
  start_time: day * 86_400,
  end_time: (day + 1) * 86_400,
  results,
});

test('tenants are summed over the days, the largest first', () => {
  const { tenants, parts, days } = toFigures([
    bucket(1, [result('a', 10), result('b', 5)]),
    bucket(2, [result('b', 20)]),
    bucket(3, []),
  ]);
  assert.deepEqual(tenants, [
    { tenant: 'b', requests: 4, prompt: 25, cached: 2, generated: 2 },
    { tenant: 'a', requests: 2, prompt: 10, cached: 1, generated: 1 },
  ]);
  assert.deepEqual(parts, ['b', 'a']);
  assert.deepEqual(
    days.map(({ tokens, total }) => [total, ...tokens]),
    [
      [17, 6, 11],
      [21, 21, 0],
      [0, 0, 0],
    ],
  );
});

test('the chart shows the largest tenants, and the others as one', () => {
  const results = ['a', 'b', 'c', 'd', 'e'].map((tenant, i) => result(tenant, 100 - i));
  const { parts, days } = toFigures([bucket(1, results)]);
  assert.deepEqual(parts, ['a', 'b', 'c', 'others']);
  assert.deepEqual(days[0]!.tokens, [101, 100, 99, 98 + 97]);
});

test('limits are read from a response; a tenant without one has none', () => {
  assert.deepEqual(limitsOf(new Headers()), []);
  const headers = new Headers({
    'x-ratelimit-limit-tokens': '1000',
    'x-ratelimit-remaining-tokens': '0',
  });
  assert.deepEqual(limitsOf(headers), [{ name: 'tokens', perMinute: 1000, left: 0 }]);
});

test('all days are read, even if the results of a few fill a page', async () => {
  const pages: UsagePage[] = [
    { object: 'page', data: [bucket(1, [])], has_more: true, next_page: '172800' },
    { object: 'page', data: [bucket(2, []), bucket(3, [])], has_more: false, next_page: null },
  ];
  const paths: string[] = [];
  const days = await readDays(86_400, 3, async (path) => {
    paths.push(path.split('?')[1]!);
    return pages[paths.length - 1]!;
  });
  assert.equal(days.length, 3);
  const query = 'start_time=86400&limit=3&group_by=project_id';
  assert.deepEqual(paths, [query, `${query}&page=172800`]);
});

test('days that the user has left neither show up nor fail', async () => {
  const rights = { is_admin: false, is_read_only: false };
  const me = { object: 'tenant' as const, id: 'a', ...rights, needs_key: false };
  const answers = new Map<number, Resolvers<ReturnType<typeof usageOf>>>();
  const usageOf = (days: number) => {
    const figures = toFigures(Array.from({ length: days }, (_, i) => bucket(i, [])));
    return { figures, limits: [], me };
  };
  const store = createUsageStore((days) => {
    answers.set(days, withResolvers());
    return answers.get(days)!.promise;
  });
  const reads = [store.refresh(), store.show(31)];
  answers.get(31)!.resolve(usageOf(31));
  await reads[1];
  answers.get(7)!.reject(new Error('too late'));
  await reads[0];
  assert.equal(store.data.value?.figures.days.length, 31);
  assert.equal(store.problem.value, '');
});
