// Limits that servers share in a real Redis server: the script against its plain twin, a burst, Redis killed and back, and the
// command with it.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { LOCAL_TENANT } from '../../src/contracts/tenant.ts';
import type { FleetUse, LimitReport } from '../../src/tenants/limit-ledger.ts';
import { RateLimits } from '../../src/tenants/rate-limits.ts';
import { openRedisLedger } from '../../src/tenants/redis-ledger.ts';
import { temporaryFolder } from '../fixtures.ts';
import { keysFileOf, makeKey } from '../tenants/keys.ts';
import { PlainLedger } from '../tenants/plain-ledger.ts';
import { until } from '../until.ts';
import { startServing } from './program.ts';
import { skipWithoutRedis as skip, startRedis } from './redis-server.ts';

const SERVERS = [0, 1, 2];
const LOG = { info() {}, warn() {} };
/** `LORIKEET_E2E_LONG=1` starts three servers instead of one. */
const PROCESSES = process.env['LORIKEET_E2E_LONG'] ? 3 : 1;

async function openLedgers(t: { after(fn: () => unknown): void }, url: string) {
  const ledgers = SERVERS.map(() => openRedisLedger(url, LOG));
  t.after(() => {
    for (const ledger of ledgers) ledger.close();
  });
  await until('Redis', () => ledgers.every(({ isUp, servers }) => isUp && servers === 3));
  return ledgers;
}

test('the script decides like its plain twin', { skip }, async (t) => {
  const redis = await startRedis(t);
  const ledgers = await openLedgers(t, redis.url);
  const count = fc.nat(30);
  const report = fc.record({
    server: fc.nat(2),
    requests: fc.nat(3),
    tokens: count,
    running: fc.nat(3),
    reserved: count,
    asks: fc.array(fc.record({ requests: fc.nat(1), tokens: count }), { maxLength: 4 }),
  });
  const limit = (max: number) => fc.option(fc.integer({ min: 1, max }), { nil: undefined });
  const limits = fc.record({
    requestsPerMinute: limit(20),
    tokensPerMinute: limit(300),
    concurrentRequests: limit(6),
  });
  let tenants = 0;
  const sum = (entries: FleetUse['tokens']) => entries.reduce((all, { amount }) => all + amount, 0);
  const property = fc.asyncProperty(
    limits,
    fc.array(report, { maxLength: 12 }),
    async (given, all) => {
      const tenant = `tenant-${tenants++}`;
      const plain = new PlainLedger(() => 0);
      for (const { server, ...rest } of all) {
        const known = Object.entries(given).filter(([, value]) => value !== undefined);
        const sent: LimitReport = { ...rest, tenant, limits: Object.fromEntries(known) };
        const [use, expected] = [
          await ledgers[server]!.exchange(sent),
          plain.decide(`${server}`, sent),
        ];
        assert.ok(use);
        assert.deepEqual(
          [use.refusals, sum(use.requests), sum(use.tokens), use.reservedByOthers],
          [
            expected.refusals,
            sum(expected.requests),
            sum(expected.tokens),
            expected.reservedByOthers,
          ],
        );
      }
    },
  );
  await fc.assert(property, { numRuns: 100 });
});

test('three servers that are flooded let in the limit; Redis may be killed and come back', {
  skip,
}, async (t) => {
  const redis = await startRedis(t);
  const ledgers = await openLedgers(t, redis.url);
  const servers = ledgers.map((ledger) => new RateLimits(() => performance.now(), ledger));
  const tenantOf = (id: string) => ({
    ...LOCAL_TENANT,
    id,
    limits: { requestsPerMinute: 300, tokensPerMinute: 30_000 },
  });
  const flood = async (id: string, count: number, tokens = 10) => {
    const tenant = tenantOf(id);
    const sent = Array.from({ length: count }, async (_, i) => {
      const request = servers[i % 3]!.begin(tenant);
      try {
        request.reserve(tokens);
        await request.admit();
        request.end(tokens);
        return 1;
      } catch {
        request.end();
        return 0;
      }
    });
    const admitted = (await Promise.allSettled(sent)).map((one) =>
      one.status === 'fulfilled' ? one.value : 0,
    );
    return admitted.reduce<number>((all, one) => all + one, 0);
  };
  const startMs = performance.now();
  const first = await flood('steady', 900, 100);
  t.diagnostic(`${first} of 900 in ${Math.round(performance.now() - startMs)} ms`);
  assert.equal(first, 300);
  for (let turn = 0; turn < 10; turn++) await flood('paced', 45);
  const paced =
    300 - Number(servers[0]!.headers(tenantOf('paced'))['x-ratelimit-remaining-requests']);
  assert.ok(paced >= 270 && paced <= 300, `${paced} requests`);

  await redis.kill();
  const alone = await flood('outage', 900);
  assert.equal(alone, 300, 'three shares of a hundred');
  assert.ok(ledgers.every(({ isUp }) => !isUp));
  const slowMs = performance.now();
  await flood('another', 3);
  assert.ok(performance.now() - slowMs < 100, 'nobody waits for a server that is known to be down');

  await redis.start();
  await until('Redis again', () => ledgers.every(({ isUp }) => isUp), { deadlineMs: 10_000 });
  for (const server of servers) server.report();
  await until('the reports', async () => (await flood('outage', 3)) === 0, { deadlineMs: 2000 });
});

test('the command shares limits with --limits, and answers without Redis', { skip }, async (t) => {
  const redis = await startRedis(t);
  const home = temporaryFolder(t);
  const keys = path.join(home, 'keys.json');
  const key = makeKey('acme');
  writeFileSync(
    keys,
    JSON.stringify(keysFileOf([key], { acme: { limits: { requestsPerMinute: 30 } } })),
  );
  const args = ['--model', 'models/toy', '--keys', keys, '--limits', redis.url];
  const starting = Array.from({ length: PROCESSES }, (_, i) =>
    startServing(args, path.join(home, `${i}`), { LORIKEET_METRICS_OPEN: '1' }),
  );
  const servers = await Promise.all(starting);
  t.after(() => Promise.all(servers.map((server) => server.stop())));
  const other = openRedisLedger(redis.url, LOG);
  t.after(() => other.close());
  await until('Redis', () => other.isUp && other.servers === PROCESSES + 1);
  const limits = { requestsPerMinute: 30 };
  const nothing = { tokens: 0, running: 0, reserved: 0, asks: [] };
  const elsewhere = { tenant: 'acme', limits, requests: 20, ...nothing };
  await other.exchange(elsewhere);
  const headers = { authorization: `Bearer ${key.text}` };
  const ask = (i: number) => fetch(`${servers[i % PROCESSES]!.url}/v1/models`, { headers });
  const statuses: number[] = [];
  for (let i = 0; i < 15; i++) statuses.push((await ask(i)).status);
  assert.deepEqual(statuses, [...Array(10).fill(200), ...Array(5).fill(429)]);
  const refused = await ask(0);
  assert.equal(refused.headers.get('x-ratelimit-remaining-requests'), '0');
  assert.ok(Number(refused.headers.get('retry-after')) > 50);
  const shown = async () =>
    /^lorikeet_limits_shared (\d)$/m.exec(
      await (await fetch(`${servers[0]!.url}/metrics`)).text(),
    )?.[1];
  assert.equal(await shown(), '1');
  await redis.kill();
  await until('the outage to be noticed', async () => (await shown()) === '0', {
    deadlineMs: 10_000,
  });
  assert.equal((await ask(0)).status, 429);
});
