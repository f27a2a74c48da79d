// Limits that several servers share through a ledger, on a clock of the test's own. `test/e2e/shared-limits.test.ts` has Redis.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ServeError } from '../../src/common/errors.ts';
import { LOCAL_TENANT, type TenantLimits } from '../../src/contracts/tenant.ts';
import { RateLimits, type Reservation } from '../../src/tenants/rate-limits.ts';
import { PlainLedger } from './plain-ledger.ts';

const SERVERS = 3;
const MINUTE_MS = 60_000;

function openFleet(limits: TenantLimits) {
  const clock = { ms: 5_000_000 };
  const nowMs = () => clock.ms;
  const ledger = new PlainLedger(nowMs);
  const servers = Array.from({ length: SERVERS }, () => new RateLimits(nowMs, ledger.connect()));
  const tenant = { ...LOCAL_TENANT, id: 'acme', limits };
  /** A request as the server treats it; undefined if it is refused. */
  const begin = async (server: number, tokens = 0): Promise<Reservation | undefined> => {
    let request: Reservation | undefined;
    try {
      request = servers[server]!.begin(tenant);
      if (tokens > 0) request.reserve(tokens);
      await request.admit();
      return request;
    } catch (error) {
      assert.ok(error instanceof ServeError && error.code === 'rate_limit_exceeded', String(error));
      assert.ok(error.retryAfterS! >= 1);
      request?.end();
      return undefined;
    }
  };
  const spend = async (server: number, tokens: number) => {
    const request = await begin(server, tokens);
    request?.end(tokens);
    return request !== undefined;
  };
  /** How many of these requests, all sent at the same time and spread over the servers, are let in. */
  const burst = async (count: number, tokens = 0) => {
    const sent = Array.from({ length: count }, (_, i) => begin(i % SERVERS, tokens));
    return (await Promise.all(sent)).filter((one) => one !== undefined);
  };
  const rest = (server: number, what: 'requests' | 'tokens') =>
    Number(servers[server]!.headers(tenant)[`x-ratelimit-remaining-${what}`]);
  const report = () => {
    for (const server of servers) server.report();
    return new Promise((resolve) => setImmediate(resolve));
  };
  return { clock, ledger, begin, burst, spend, rest, report };
}

test('a burst over three servers gets exactly the limit of requests, and again after a minute', async () => {
  const { clock, burst, rest } = openFleet({ requestsPerMinute: 60 });
  for (let minute = 0; minute < 3; minute++) {
    assert.equal((await burst(300)).length, 60);
    for (let server = 0; server < SERVERS; server++) assert.equal(rest(server, 'requests'), 0);
    clock.ms += MINUTE_MS + 1000;
  }
});

test('a burst over three servers reserves no more tokens than the limit, and unused ones return to all', async () => {
  const { begin, burst, rest } = openFleet({ tokensPerMinute: 1000 });
  const running = await burst(30, 100);
  assert.equal(running.length, 10);
  for (const request of running) request.end(20);
  await new Promise((resolve) => setImmediate(resolve)); // the ends are reported in the background
  assert.ok(await begin(0, 800));
  assert.equal(rest(0, 'tokens'), 0);
  assert.equal(await begin(1, 1), undefined);
});

test('concurrent requests are bounded over all servers, and one that ends makes room on another', async () => {
  const { burst, begin } = openFleet({ concurrentRequests: 4 });
  const running = await burst(12);
  assert.equal(running.length, 4);
  running[0]!.end();
  assert.ok(await begin(2));
  assert.equal(await begin(1), undefined);
});

test('tokens that a stream generates are known to the others within a second', async () => {
  const { clock, begin, report, rest } = openFleet({ tokensPerMinute: 1000 });
  const stream = await begin(0, 900);
  clock.ms += 30_000;
  stream!.use(400);
  await report();
  clock.ms += 31_000;
  assert.ok(await begin(1, 50));
  assert.equal(rest(1, 'tokens'), 50); // 400 used half a minute ago, 500 and 50 reserved
});

test('without the ledger each server has its share, and together they stay within the limit', async () => {
  const { clock, ledger, burst, rest, report } = openFleet({
    requestsPerMinute: 90,
    tokensPerMinute: 9000,
  });
  const before = await burst(30, 100);
  assert.equal(before.length, 30);
  for (const request of before) request.end(100);
  await report(); // so that each server knows of the others' last requests
  for (let server = 0; server < SERVERS; server++) assert.equal(rest(server, 'requests'), 60);
  clock.ms += 10_000;
  ledger.isUp = false;
  assert.equal(rest(1, 'requests'), 20);
  const inOutage = await burst(300, 100);
  assert.equal(inOutage.length, 60);
  for (const request of inOutage) request.end(100);
  clock.ms += 51_000; // the ones from before the outage are forgotten
  assert.equal((await burst(300, 100)).length, 30);
  ledger.isUp = true;
  await report();
  assert.equal((await burst(300, 100)).length, 0);
  clock.ms += MINUTE_MS + 1000;
  assert.equal((await burst(300, 1)).length, 90);
});

test('a share is never less than one', async () => {
  const { ledger, burst } = openFleet({ requestsPerMinute: 2, concurrentRequests: 1 });
  ledger.isUp = false;
  assert.equal((await burst(30)).length, SERVERS);
});

test('a request that fails before it has an effect counts, and asks nobody', async () => {
  const clock = { ms: 0 };
  const ledger = new PlainLedger(() => clock.ms);
  const [one, two] = [
    new RateLimits(() => clock.ms, ledger.connect()),
    new RateLimits(() => clock.ms, ledger.connect()),
  ];
  const tenant = { ...LOCAL_TENANT, limits: { requestsPerMinute: 1 } };
  one.begin(tenant).end();
  one.report();
  await new Promise((resolve) => setImmediate(resolve));
  const request = two.begin(tenant);
  await assert.rejects(request.admit(), { code: 'rate_limit_exceeded', retryAfterS: 61 });
  request.end();
  assert.throws(() => two.begin(tenant), { retryAfterS: 61 });
});

test('whatever the servers do, no minute of the fleet has more than the limits', async () => {
  const limits = { requestsPerMinute: 8, tokensPerMinute: 100, concurrentRequests: 5 };
  const server = fc.nat(SERVERS - 1);
  const operation = fc.oneof(
    fc.record({
      type: fc.constant('begin' as const),
      server,
      tokens: fc.integer({ min: 1, max: 40 }),
    }),
    fc.record({
      type: fc.constant('end' as const),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 30_000 }) }),
    fc.record({ type: fc.constant('report' as const) }),
  );
  const property = fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (all) => {
    const { clock, begin, report } = openFleet(limits);
    const log: { atMs: number; requests: number; tokens: number }[] = [];
    const running: { request: Reservation; tokens: number }[] = [];
    for (const one of all) {
      if (one.type === 'wait') clock.ms += one.ms;
      if (one.type === 'report') await report();
      if (one.type === 'begin') {
        const request = await begin(one.server, one.tokens);
        if (!request) continue;
        log.push({ atMs: clock.ms, requests: 1, tokens: 0 });
        running.push({ request, tokens: one.tokens });
        assert.ok(running.length <= limits.concurrentRequests);
      }
      const ended = one.type === 'end' ? running.shift() : undefined;
      if (one.type !== 'end' || !ended) continue;
      const tokens = Math.floor(ended.tokens * one.share);
      ended.request.end(tokens);
      log.push({ atMs: clock.ms, requests: 0, tokens });
    }
    for (const { atMs } of log) {
      const minute = log.filter((one) => one.atMs <= atMs && atMs - one.atMs < MINUTE_MS);
      const requests = minute.reduce((sum, one) => sum + one.requests, 0);
      const tokens = minute.reduce((sum, one) => sum + one.tokens, 0);
      assert.ok(requests <= limits.requestsPerMinute, `${requests} requests`);
      assert.ok(tokens <= limits.tokensPerMinute, `${tokens} tokens`);
    }
  });
  await fc.assert(property, { seed: 20261129, numRuns: 200 });
});
