import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentService, type Served } from '../../src/engine-client/recent-service.ts';

const SLOT_COUNT = 4;

function create() {
  const clock = { ms: 0 };
  const recent = new RecentService(() => clock.ms);
  const serve = (
    count: number,
    { tenant = 'a', ms = 100, tokens = 9, ...rest }: Partial<Served> = {},
  ) => {
    for (let i = 0; i < count; i++) {
      recent.ended(SLOT_COUNT, { tenant, ms, tokens, maxTokens: 99, isCutOff: false, ...rest });
    }
  };
  return { clock, recent, serve };
}

test('the service of a request is that of others of its tenant, in proportion to its limit', () => {
  const { recent, serve } = create();
  serve(3);
  assert.equal(recent.serviceMs('a'), 0, 'too few');
  serve(1);
  assert.equal(recent.serviceMs('b'), 0, 'another tenant');
  const rounded = (maxTokens?: number) => Math.round(recent.serviceMs('a', maxTokens));
  assert.deepEqual([rounded(), rounded(99), rounded(0), rounded(209)], [100, 100, 10, 200]);
});

test('the more requests differ from their estimate, the longer one may take', () => {
  const { recent, serve } = create();
  for (let i = 0; i < 50; i++) serve(1, { ms: i % 2 === 0 ? 50 : 150 });
  const ms = recent.serviceMs('a');
  assert.ok(ms > 130 && ms < 180, `${ms} ms`);
  serve(1, { ms: 1e9 });
  serve(50);
  assert.ok(recent.serviceMs('a') < 1e9 / 16, 'one request is soon forgotten');
});

test('a request that was cut off counts only if it had already taken longer than others', () => {
  const { recent, serve } = create();
  serve(20);
  const usual = recent.serviceMs('a');
  serve(20, { ms: 60, isCutOff: true });
  assert.equal(recent.serviceMs('a'), usual);
  serve(20, { ms: 300, isCutOff: true });
  assert.ok(recent.serviceMs('a') > 250);
});

test('slots become free at the pace of busy time; ends in idle time count as if all slots were used', () => {
  const { clock, recent, serve } = create();
  recent.note(true);
  for (let i = 0; i < 100; i++) {
    clock.ms += 50;
    serve(1);
  }
  assert.equal(recent.waitMs(10), 500);
  recent.note(false);
  clock.ms += 3_600_000;
  assert.equal(recent.waitMs(10), 500);
  serve(100, { ms: 40 });
  assert.equal(recent.waitMs(10), (10 * 40) / SLOT_COUNT, 'it has become faster');
});

test('another engine starts with no estimate', () => {
  const { recent, serve } = create();
  serve(20);
  assert.ok(recent.isKnown);
  recent.forget();
  assert.deepEqual([recent.isKnown, recent.serviceMs('a')], [false, 0]);
});

test('the number of tenants that are remembered is bounded', () => {
  const { recent, serve } = create();
  serve(4);
  for (let i = 0; i < 1024; i++) serve(4, { tenant: `t${i}` });
  assert.equal(recent.serviceMs('a'), 0);
  assert.ok(recent.serviceMs('t0') > 0);
});
