// T39, F23, I24: what a tenant may use of a minute, on a clock of the test's own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LOCAL_TENANT, type Tenant, type TenantLimits } from '../../src/contracts/tenant.ts';
import { RateLimits, type Reservation } from '../../src/tenants/rate-limits.ts';

const tenantOf = (limits: TenantLimits, id = 'acme'): Tenant => ({ ...LOCAL_TENANT, id, limits });

function createLimits() {
  const clock = { ms: 5_000_000 };
  return { clock, limits: new RateLimits(() => clock.ms) };
}

const REFUSED = { code: 'rate_limit_exceeded', status: 429 };

/** How many of so many tries are let in. */
function admitted(tries: number, attempt: () => unknown): number {
  let count = 0;
  for (let i = 0; i < tries; i++) {
    try {
      attempt();
      count++;
    } catch (error) {
      assert.equal((error as { code?: string }).code, REFUSED.code);
    }
  }
  return count;
}

test('T39: of twice the quota of requests exactly the quota is let in, and again after a minute', () => {
  const { clock, limits } = createLimits();
  const tenant = tenantOf({ requestsPerMinute: 10 });
  assert.equal(
    admitted(20, () => limits.begin(tenant)),
    10,
  );
  clock.ms += 59_999;
  assert.equal(
    admitted(1, () => limits.begin(tenant)),
    0,
  );
  clock.ms += 1;
  assert.equal(
    admitted(20, () => limits.begin(tenant)),
    10,
  );
});

test('a refusal says when the minute ends', () => {
  const { clock, limits } = createLimits();
  const tenant = tenantOf({ requestsPerMinute: 1 });
  limits.begin(tenant);
  clock.ms += 17_500;
  assert.throws(() => limits.begin(tenant), { ...REFUSED, retryAfterS: 43 });
});

test('tokens are reserved at the start, and what was not used returns at the end', () => {
  const { limits } = createLimits();
  const tenant = tenantOf({ tokensPerMinute: 100 });
  const first = limits.begin(tenant);
  first.reserve(80);
  assert.throws(() => limits.begin(tenant).reserve(30), REFUSED);
  first.end(20);
  assert.equal(limits.headers(tenant)['x-ratelimit-remaining-tokens'], '80');
  limits.begin(tenant).reserve(80);
});

test('an end counts once, and an aborted request keeps what it had generated', () => {
  const { limits } = createLimits();
  const tenant = tenantOf({ tokensPerMinute: 100, concurrentRequests: 1 });
  const ticket = limits.begin(tenant);
  ticket.reserve(60);
  ticket.end(25);
  ticket.end();
  assert.equal(limits.headers(tenant)['x-ratelimit-remaining-tokens'], '75');
  assert.equal(
    admitted(2, () => limits.begin(tenant)),
    1,
  );
});

test('what was reserved in one minute is not returned to the next', () => {
  const { clock, limits } = createLimits();
  const tenant = tenantOf({ tokensPerMinute: 100 });
  const long = limits.begin(tenant);
  long.reserve(100);
  clock.ms += 60_000;
  limits.begin(tenant).reserve(40);
  long.end(1);
  assert.equal(limits.headers(tenant)['x-ratelimit-remaining-tokens'], '60');
});

test('a request that can never fit is the caller’s fault, not a matter of time', () => {
  const { limits } = createLimits();
  const ticket = limits.begin(tenantOf({ tokensPerMinute: 100 }));
  const fault = {
    code: 'invalid_request',
    param: 'max_tokens',
    message: /101 tokens.* limit is 100/,
  };
  assert.throws(() => ticket.reserve(101), fault);
  ticket.reserve(100);
});

test('requests at once are bounded, whatever the minute', () => {
  const { clock, limits } = createLimits();
  const tenant = tenantOf({ concurrentRequests: 2 });
  const [first] = [limits.begin(tenant), limits.begin(tenant)];
  clock.ms += 3_600_000;
  assert.throws(() => limits.begin(tenant), { ...REFUSED, retryAfterS: 1 });
  first.end();
  assert.equal(
    admitted(2, () => limits.begin(tenant)),
    1,
  );
});

test('tenants count apart, and keys of one tenant together', () => {
  const { limits } = createLimits();
  const limit = { requestsPerMinute: 1 };
  limits.begin(tenantOf(limit, 'a'));
  assert.equal(
    admitted(1, () => limits.begin(tenantOf(limit, 'b'))),
    1,
  );
  assert.equal(
    admitted(1, () => limits.begin({ ...tenantOf(limit, 'a'), isAdmin: true })),
    0,
  );
});

test('a limit that is lowered holds at once, and shows no negative rest', () => {
  const { limits } = createLimits();
  limits.begin(tenantOf({ tokensPerMinute: 100 })).reserve(90);
  const lowered = tenantOf({ tokensPerMinute: 50 });
  assert.equal(limits.headers(lowered)['x-ratelimit-remaining-tokens'], '0');
  assert.throws(() => limits.begin(lowered).reserve(1), REFUSED);
});

test('headers are OpenAI’s, and only those of the limits that there are', () => {
  const { clock, limits } = createLimits();
  assert.deepEqual(limits.headers(LOCAL_TENANT), {});
  const tenant = tenantOf({ requestsPerMinute: 3 });
  const resets = [];
  limits.begin(tenant);
  for (const passed of [0, 51_360, 8_390, 1_000]) {
    clock.ms += passed;
    resets.push(limits.headers(tenant)['x-ratelimit-reset-requests']);
  }
  assert.deepEqual(resets, ['1m0s', '8.64s', '250ms', '0ms']);
  assert.deepEqual(Object.keys(limits.headers(tenant)), [
    'x-ratelimit-limit-requests',
    'x-ratelimit-remaining-requests',
    'x-ratelimit-reset-requests',
  ]);
});

test('I24: no window lets more in than its limits, and what remains grows only by refunds', () => {
  const operation = fc.oneof(
    fc.record({ type: fc.constant('begin' as const), tokens: fc.integer({ min: 1, max: 40 }) }),
    fc.record({
      type: fc.constant('end' as const),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 30_000 }) }),
  );
  const tenant = tenantOf({ requestsPerMinute: 5, tokensPerMinute: 100, concurrentRequests: 4 });
  const property = fc.property(fc.array(operation, { maxLength: 60 }), (all) => {
    const { clock, limits } = createLimits();
    const running: { ticket: Reservation; tokens: number; windowEnd: number }[] = [];
    let window = { end: 0, requests: 0, tokens: 0 };
    const begin = (tokens: number) => {
      if (clock.ms >= window.end) window = { end: clock.ms + 60_000, requests: 0, tokens: 0 };
      const mayBegin = window.requests < 5 && running.length < 4;
      const begun: Reservation[] = [];
      const count = admitted(1, () => begun.push(limits.begin(tenant)));
      assert.equal(count, mayBegin ? 1 : 0);
      const [ticket] = begun;
      if (!ticket) return;
      window.requests++;
      const fits = window.tokens + tokens <= 100;
      assert.equal(
        admitted(1, () => ticket.reserve(tokens)),
        fits ? 1 : 0,
      );
      if (!fits) return ticket.end();
      window.tokens += tokens;
      running.push({ ticket, tokens, windowEnd: window.end });
    };
    for (const one of all) {
      if (one.type === 'wait') clock.ms += one.ms;
      else if (one.type === 'begin') begin(one.tokens);
      else {
        const ended = running.shift();
        const used = Math.floor((ended?.tokens ?? 0) * one.share);
        ended?.ticket.end(used);
        if (ended?.windowEnd === window.end) window.tokens -= ended.tokens - used;
      }
      const isOver = clock.ms >= window.end;
      const headers = limits.headers(tenant);
      const rest = [100 - window.tokens, 5 - window.requests].map((left, i) =>
        String(isOver ? [100, 5][i] : left),
      );
      const shown = ['tokens', 'requests'].map((what) => headers[`x-ratelimit-remaining-${what}`]);
      assert.deepEqual(shown, rest);
      assert.ok(shown.every((left) => Number(left) >= 0));
    }
  });
  fc.assert(property, { seed: 20261125, numRuns: 500 });
});
