import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  Admission,
  type AdmissionLimits,
  type Waiting,
} from '../../src/engine-client/admission.ts';

const SLOTS = { slotCount: 2, maxSeqLength: 10 };
const LIMITS = { maxWaiting: 8, maxWaitingPerTenant: 4, maxWaitingTokens: 40 };
/** Half of all tokens, as of all sequences. */
const TOKENS_PER_TENANT = 20;
const TENANTS = ['a', 'b', 'c'];

const one = (tenant: string, promptTokens = 1): Waiting => ({ tenant, weight: 1, promptTokens });

function createAdmission(limits: AdmissionLimits, now = () => 0, slots = SLOTS): Admission {
  return new Admission({ limits, slots: () => slots, now });
}

/** Fills slots and queue as far as they go. Returns the last refusal. */
function fill(admission: Admission, sequence: Waiting, running = 0) {
  for (let i = 0; i < running; i++) {
    admission.enter(sequence);
    admission.start(sequence);
  }
  let accepted = 0;
  for (;;) {
    const refusal = admission.refusal(sequence);
    if (refusal) return { accepted, refusal };
    admission.enter(sequence);
    accepted++;
  }
}

test('T14: a full queue refuses with overloaded, and accepts again when a sequence has started', () => {
  const admission = createAdmission({ maxWaiting: 3 });
  const { accepted, refusal } = fill(admission, one('a'), 2);
  assert.equal(accepted, 3);
  assert.equal(refusal.code, 'overloaded');
  admission.end('a');
  admission.start(one('a'));
  assert.equal(admission.refusal(one('a')), undefined);
});

test('T14: a tenant that fills its own queue gets rate_limit_exceeded, and takes no room of others', () => {
  const admission = createAdmission(LIMITS);
  const { accepted, refusal } = fill(admission, one('a'), 2);
  assert.deepEqual([accepted, refusal.code], [4, 'rate_limit_exceeded']);
  assert.equal(fill(admission, one('b')).accepted, 4);
  assert.equal(admission.refusal(one('c'))?.code, 'overloaded');
});

test('T14: prompt tokens are bounded, too, and what fits into free slots does not count', () => {
  const admission = createAdmission(LIMITS);
  const long = one('a', SLOTS.maxSeqLength);
  assert.equal(fill(admission, long).accepted, 2 + TOKENS_PER_TENANT / long.promptTokens);
  assert.equal(admission.refusal(one('a', 1))?.code, 'rate_limit_exceeded');
  assert.equal(fill(admission, one('b', SLOTS.maxSeqLength)).accepted, 2);
  assert.equal(admission.refusal(one('c', SLOTS.maxSeqLength))?.code, 'overloaded');
});

/** An admission on a fake clock, both slots of which are used one after the other, `stepMs` a time. */
function busyAdmission(limits: AdmissionLimits, { ends = 20, stepMs = 200 } = {}) {
  const clock = { ms: 1_000_000 };
  const admission = createAdmission(limits, () => clock.ms);
  const served = {
    tenant: 'a',
    ms: SLOTS.slotCount * stepMs,
    tokens: 10,
    maxTokens: 10,
    isCutOff: false,
  };
  const serve = (count: number) => {
    for (let i = 0; i < count; i++) {
      clock.ms += stepMs;
      admission.end('a', served);
      admission.start(one('a'));
      admission.enter(one('a'));
    }
  };
  const endAll = (waiting: number) => {
    for (let i = 0; i < waiting; i++) admission.leave(one('a'));
    for (let i = 0; i < SLOTS.slotCount; i++) admission.end('a', served);
  };
  fill(admission, one('a'), SLOTS.slotCount);
  serve(ends);
  return { clock, admission, serve, endAll };
}

const MANY = { maxWaiting: 100, maxWaitingPerTenant: 50 };

test('T14: under a steady load, the time of another try follows from the queue and its pace', () => {
  assert.equal(fill(createAdmission(MANY), one('a'), 2).refusal.retryAfterS, 1, 'nothing is known');
  const { admission, clock } = busyAdmission(MANY);
  // 20 ends in 4 s, and 50 that wait.
  assert.equal(admission.refusal(one('a'))?.retryAfterS, 10);
  assert.equal(fill(admission, one('b')).accepted, 50);
  assert.equal(admission.refusal(one('c'))?.retryAfterS, 20);
  clock.ms += 59_000;
  assert.equal(admission.refusal(one('c'))?.retryAfterS, 60, 'the engine stands still');
});

test('T14: a burst after idle time is told the pace of busy time', () => {
  const { admission, clock, endAll } = busyAdmission(MANY);
  endAll(50);
  clock.ms += 3_600_000;
  assert.equal(fill(admission, one('a'), 2).refusal.retryAfterS, 10);
});

test('T14: a tenant is told when its own share of the queue has started, by weight', () => {
  const { admission } = busyAdmission(MANY);
  const heavy = { ...one('heavy'), weight: 4 };
  for (let i = 0; i < 10; i++) admission.enter(one('light'));
  assert.equal(admission.refusal(one('a'))?.retryAfterS, 12, 'all of the light tenant go first');
  assert.equal(fill(admission, heavy).accepted, 40);
  assert.equal(admission.refusal(one('light'))?.retryAfterS, 20, 'the queue is full');
  for (let i = 0; i < 40; i++) admission.leave(heavy);
  assert.equal(admission.refusal(one('a'))?.retryAfterS, 12);
});

describe('a request with a time limit', () => {
  const within = (tenant: string, ms: number, nowMs: number, maxTokens?: number): Waiting => {
    return { ...one(tenant), maxTokens, time: { ms, endsAtMs: nowMs + ms } };
  };
  /** 30 of `a` wait, of which five start in a second. Each takes 0.4 s. */
  const busy = () => {
    const bench = busyAdmission(MANY);
    for (let i = 0; i < 20; i++) bench.admission.leave(one('a'));
    return bench;
  };

  test('T14: is refused at the door if it would not be answered in time, and told when it might be', () => {
    const { admission, clock } = busy();
    // 31 starts take 6.2 s, and the answer 0.4 s.
    assert.equal(admission.refusal(within('a', 6_600, clock.ms)), undefined);
    const late = admission.refusal(within('a', 5_000, clock.ms))!;
    assert.deepEqual([late.code, late.retryAfterS], ['overloaded', 2]);
    assert.match(late.message, /would take about 7 s, and the request's time limit is 5000 ms/);
    const hopeless = admission.refusal(within('a', 200, clock.ms))!;
    assert.equal(hopeless.retryAfterS, 7, 'when all have started, a slot is free');
    assert.equal(admission.refusal(within('a', 6_250, clock.ms, 0)), undefined, 'a short answer');
  });

  test('T14: gets rate_limit_exceeded if only the queue of its own tenant is too long', () => {
    const { admission, clock } = busy();
    admission.enter(one('b'));
    assert.equal(admission.refusal(within('b', 3_000, clock.ms)), undefined, 'they take turns');
    assert.equal(admission.refusal(within('a', 3_000, clock.ms))?.code, 'rate_limit_exceeded');
    assert.equal(admission.refusal(within('a', 300, clock.ms))?.code, 'overloaded');
  });

  test('T14: is never refused if a slot is free, or while nothing is known', () => {
    const { admission, clock, endAll } = busy();
    endAll(30);
    for (let i = 0; i < SLOTS.slotCount; i++) {
      assert.equal(admission.refusal(within('a', 1, clock.ms)), undefined);
      admission.enter(one('a'));
      admission.start(one('a'));
    }
    assert.equal(admission.refusal(within('a', 1, clock.ms))?.code, 'overloaded');
    admission.restarted();
    assert.equal(admission.refusal(within('a', 1, clock.ms)), undefined);
  });

  test('T14: a slot for guests is free for a tenant with less than its share only', () => {
    const clock = { ms: 0 };
    const limits = { ...MANY, reservedSlots: 1 };
    const slots = { slotCount: 5, maxSeqLength: 10 };
    const admission = createAdmission(limits, () => clock.ms, slots);
    const served = { tenant: 'heavy', ms: 400, tokens: 10, maxTokens: 10, isCutOff: false };
    const start = () => {
      admission.enter(one('heavy'));
      admission.start(one('heavy'));
    };
    for (let i = 0; i < 4; i++) start();
    for (let i = 0; i < 20; i++) {
      clock.ms += 100;
      admission.end('heavy', served);
      start();
    }
    const refusal = (tenant: string) => admission.refusal(within(tenant, 300, clock.ms))?.code;
    assert.deepEqual([refusal('heavy'), refusal('light')], ['overloaded', undefined]);
    admission.end('heavy', served);
    assert.equal(refusal('heavy'), undefined);
  });

  test('T14: is late while it waits once less time is left than an answer takes, unless a slot is free', () => {
    const { admission, clock, serve, endAll } = busy();
    const waiting = within('a', 1_000, clock.ms);
    assert.equal(admission.isLate(waiting), false);
    serve(3);
    assert.equal(admission.isLate(waiting), false, '0.4 s are left');
    clock.ms += 1;
    assert.equal(admission.isLate(waiting), true);
    assert.equal(admission.isLate({ ...waiting, maxTokens: 0 }), false);
    assert.equal(admission.isLate({ ...waiting, tenant: 'b' }), false, 'nothing is known of b');
    endAll(30);
    admission.enter(waiting);
    assert.equal(admission.isLate(waiting), false);
  });
});

const operations = fc.array(
  fc.record({
    kind: fc.constantFrom('submit', 'submit', 'submit', 'start', 'leave', 'end'),
    tenant: fc.constantFrom(...TENANTS),
    promptTokens: fc.integer({ min: 1, max: SLOTS.maxSeqLength }),
    pick: fc.nat(),
  }),
  { minLength: 20, maxLength: 60, size: 'max' },
);

/** Runs random operations beside a plain list. Returns the first difference in what is accepted. */
function findDifference(limits: AdmissionLimits): string | undefined {
  const property = fc.property(operations, (all) => {
    const admission = createAdmission(limits);
    const waiting: Waiting[] = [];
    const running: Waiting[] = [];
    for (const { kind, tenant, promptTokens, pick } of all) {
      const sequence = one(tenant, promptTokens);
      const [picked] = kind === 'start' || kind === 'leave' ? waiting.splice(pick % 9, 1) : [];
      if (kind === 'submit') {
        const isAccepted = admission.refusal(sequence) === undefined;
        const after = [...waiting, sequence];
        const own = after.filter((other) => other.tenant === tenant);
        const free = SLOTS.slotCount - running.length;
        const fits = (which: readonly Waiting[], most: number, tokens: number) =>
          which.length <= most + free &&
          which.reduce((sum, { promptTokens: count }) => sum + count, 0) <=
            tokens + free * SLOTS.maxSeqLength;
        const mayEnter =
          fits(after, LIMITS.maxWaiting, LIMITS.maxWaitingTokens) &&
          fits(own, LIMITS.maxWaitingPerTenant, TOKENS_PER_TENANT);
        assert.equal(isAccepted, mayEnter, `a sequence of ${tenant} beside ${waiting.length}`);
        if (isAccepted) admission.enter(sequence);
        if (isAccepted) waiting.push(sequence);
      } else if (kind === 'start' && picked && running.length < SLOTS.slotCount) {
        admission.start(picked);
        running.push(picked);
      } else if (picked) admission.leave(picked);
      else if (kind === 'end' && running.length > 0) {
        admission.end(running.splice(pick % running.length, 1)[0]!.tenant);
      }
    }
  });
  const { errorInstance } = fc.check(property, { seed: 20261127, numRuns: 2_000 });
  return errorInstance === null ? undefined : String(errorInstance);
}

test('I16: no queue exceeds its limits, and none refuses what fits', () => {
  assert.equal(findDifference(LIMITS), undefined);
});

for (const [limit, value] of Object.entries(LIMITS)) {
  test(`I16 detects a limit that is off by one: ${limit}`, () => {
    assert.match(findDifference({ ...LIMITS, [limit]: value + 1 }) ?? '', /a sequence of/);
  });
}

test('F05: beside an engine that is twenty times slower, the queue says to come back twenty times later', () => {
  const refused = (stepMs: number) => {
    const { admission } = busyAdmission({ maxWaiting: 8 }, { ends: 40, stepMs });
    return admission.refusal(one('a'))!.retryAfterS!;
  };
  assert.deepEqual([refused(250), refused(5_000)], [2, 40]);
});
