// T39, F23, I24: what a tenant may use of a minute, on a clock of the test's own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ServeError } from '../../src/common/errors.ts';
import { LOCAL_TENANT, type Tenant, type TenantLimits } from '../../src/contracts/tenant.ts';
import { RateLimits, type Reservation } from '../../src/tenants/rate-limits.ts';

const tenantOf = (limits: TenantLimits, id = 'acme'): Tenant => ({ ...LOCAL_TENANT, id, limits });

function createLimits() {
  const clock = { ms: 5_000_000 };
  return { clock, limits: new RateLimits(() => clock.ms) };
}

const REFUSED = { code: 'rate_limit_exceeded', status: 429 };

/** How many of so many requests of a tenant are let in. */
function admitted(tries: number, limits: RateLimits, tenant: Tenant): number {
  let count = 0;
  for (let i = 0; i < tries; i++) {
    try {
      limits.begin(tenant);
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
  assert.equal(admitted(20, limits, tenant), 10);
  clock.ms += 59_999;
  assert.equal(admitted(1, limits, tenant), 0);
  clock.ms += 1;
  assert.equal(admitted(20, limits, tenant), 10);
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
  assert.equal(admitted(2, limits, tenant), 1);
});

test('T39: two minutes that touch do not get twice the tokens', () => {
  const { clock, limits } = createLimits();
  const tenant = tenantOf({ tokensPerMinute: 2000, requestsPerMinute: 10 });
  const spend = (tokens: number) => {
    const request = limits.begin(tenant);
    request.reserve(tokens);
    request.end(tokens);
  };
  spend(100);
  clock.ms += 59_000;
  spend(1900);
  clock.ms += 1000;
  assert.throws(() => spend(101), { ...REFUSED, retryAfterS: 59 });
  spend(100);
});

test('tokens count in the minute in which they are generated, and are reserved until then', () => {
  const { clock, limits } = createLimits();
  const tenant = tenantOf({ tokensPerMinute: 100 });
  const rest = () => limits.headers(tenant)['x-ratelimit-remaining-tokens'];
  const long = limits.begin(tenant);
  long.reserve(90);
  long.use(30);
  clock.ms += 60_000;
  assert.equal(rest(), '40');
  long.use(50);
  assert.equal(rest(), '40');
  assert.throws(() => limits.begin(tenant).reserve(41), { ...REFUSED, retryAfterS: 60 });
  long.end(55);
  long.use(90);
  assert.equal(rest(), '75');
  clock.ms += 60_000;
  assert.equal(rest(), '100');
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
  assert.equal(admitted(2, limits, tenant), 1);
});

test('tenants count apart, and keys of one tenant together', () => {
  const { limits } = createLimits();
  const limit = { requestsPerMinute: 1 };
  limits.begin(tenantOf(limit, 'a'));
  assert.equal(admitted(1, limits, tenantOf(limit, 'b')), 1);
  assert.equal(admitted(1, limits, { ...tenantOf(limit, 'a'), isAdmin: true }), 0);
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

/** A plain twin: a log of all requests and used tokens. */
class UsageLog {
  readonly requests: { atMs: number; amount: number }[] = [];
  readonly tokens: { atMs: number; amount: number }[] = [];

  /** Sums what is less old than that. */
  since(kind: 'requests' | 'tokens', nowMs: number, ageMs: number): number {
    const recent = this[kind].filter(({ atMs }) => atMs <= nowMs && nowMs - atMs < ageMs);
    return recent.reduce((sum, { amount }) => sum + amount, 0);
  }

  /** Returns the largest sum of any minute. */
  peak(kind: 'requests' | 'tokens'): number {
    return Math.max(0, ...this[kind].map(({ atMs }) => this.since(kind, atMs, 60_000)));
  }
}

const MINUTE_MS = 60_000;
/** Usage leaves the window at most this much late. */
const LATE_MS = 1000;
const LIMITS = { requestsPerMinute: 5, tokensPerMinute: 100, concurrentRequests: 4 };

/** The limits and their twin, which sees whatever they let in. */
class Twins {
  readonly clock = { ms: 5_000_000 };
  readonly #limits = new RateLimits(() => this.clock.ms);
  readonly #tenant = tenantOf(LIMITS);
  readonly log = new UsageLog();
  readonly #running: { ticket: Reservation; reserved: number; used: number }[] = [];
  /** Of the last refusal. */
  retryAfterMs = 0;

  begin(tokens: number): boolean {
    const isFree = this.#running.length < LIMITS.concurrentRequests;
    const ticket = this.#expectFair(isFree, 'requests', 1, () => this.#limits.begin(this.#tenant));
    if (!ticket) return false;
    this.log.requests.push({ atMs: this.clock.ms, amount: 1 });
    const run = { ticket, reserved: 0, used: 0 };
    this.#running.push(run);
    const reserve = () => {
      ticket.reserve(tokens);
      return true;
    };
    const isReserved = this.#expectFair(true, 'tokens', tokens, reserve);
    if (isReserved) run.reserved = tokens;
    else this.end(0, this.#running.length - 1);
    return isReserved === true;
  }

  /** Uses a share of what the oldest running request has left. */
  use(share: number): void {
    const run = this.#running[0];
    if (!run) return;
    this.#log(run, Math.floor((run.reserved - run.used) * share));
    run.ticket.use(run.used);
  }

  end(share: number, index = 0): void {
    const [run] = this.#running.splice(index, 1);
    if (!run) return;
    this.#log(run, Math.floor((run.reserved - run.used) * share));
    run.ticket.end(run.used);
  }

  endAll(): void {
    while (this.#running.length > 0) this.end(0);
  }

  checkHeaders(): void {
    const headers = this.#limits.headers(this.#tenant);
    for (const kind of ['requests', 'tokens'] as const) {
      const limit = LIMITS[`${kind}PerMinute`];
      const left = Number(headers[`x-ratelimit-remaining-${kind}`]);
      assert.ok(left >= 0 && left <= limit - this.#counted(kind, MINUTE_MS), `${left} ${kind}`);
      assert.ok(left >= limit - this.#counted(kind, MINUTE_MS + LATE_MS), `${left} ${kind}`);
    }
  }

  #log(run: { used: number }, amount: number): void {
    run.used += amount;
    this.log.tokens.push({ atMs: this.clock.ms, amount });
  }

  #counted(kind: 'requests' | 'tokens', ageMs: number): number {
    const reserved = this.#running.reduce((sum, run) => sum + run.reserved - run.used, 0);
    return this.log.since(kind, this.clock.ms, ageMs) + (kind === 'tokens' ? reserved : 0);
  }

  /** Lets in what the exact window of a minute has room for, except what left it less than a second ago. */
  #expectFair<T>(isFree: boolean, kind: 'requests' | 'tokens', amount: number, attempt: () => T) {
    const limit = LIMITS[`${kind}PerMinute`];
    try {
      const done = attempt();
      assert.ok(isFree && this.#counted(kind, MINUTE_MS) + amount <= limit, `too many ${kind}`);
      return done;
    } catch (error) {
      if (!(error instanceof ServeError)) throw error;
      assert.equal(error.code, REFUSED.code);
      const isFull = this.#counted(kind, MINUTE_MS + LATE_MS) + amount > limit;
      assert.ok(!isFree || isFull, `${kind}: ${error.message}`);
      this.retryAfterMs = error.retryAfterS! * 1000;
      return undefined;
    }
  }
}

test('I24: no minute, wherever it begins, has more than its limits, and headers and retry-after are true', () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const operation = fc.oneof(
    fc.record({ type: fc.constant('begin' as const), tokens: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ type: fc.constantFrom('use' as const, 'end' as const), share }),
    fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 30_000 }) }),
    fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 1200 }) }),
  );
  const property = fc.property(
    fc.array(operation, { maxLength: 80 }),
    fc.integer({ min: 1, max: 40 }),
    (all, tokens) => {
      const twins = new Twins();
      for (const one of all) {
        if (one.type === 'wait') twins.clock.ms += one.ms;
        else if (one.type === 'begin') twins.begin(one.tokens);
        else twins[one.type](one.share);
        twins.checkHeaders();
      }
      twins.endAll();
      // At most two waits: the first refusal is about requests, the second about tokens.
      for (let waits = 0; !twins.begin(tokens); waits++) {
        assert.ok(waits < 2, 'retry-after is true');
        twins.clock.ms += twins.retryAfterMs;
      }
      for (const kind of ['requests', 'tokens'] as const) {
        assert.ok(twins.log.peak(kind) <= LIMITS[`${kind}PerMinute`], `too many ${kind}`);
      }
    },
  );
  fc.assert(property, { seed: 20261125, numRuns: 500 });
});

test('requests in idle time count against no limit, and change none', () => {
  const { limits } = createLimits();
  const tenant = tenantOf({ requestsPerMinute: 2, tokensPerMinute: 100 });
  const idle = { ...tenant, limits: {}, isIdle: true } as const;
  for (let i = 0; i < 5; i++) {
    const line = limits.begin(idle);
    line.reserve(1000);
    line.use(1000);
    line.end();
    assert.deepEqual({ ...line.headers(), ...limits.headers(idle) }, {});
  }
  const first = limits.begin(tenant);
  limits.begin(idle);
  first.reserve(100);
  assert.equal(first.headers()['x-ratelimit-remaining-requests'], '1');
  limits.begin(tenant);
  assert.throws(() => limits.begin(tenant), REFUSED);
});
