import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Admission, type AdmissionLimits, type Waiting } from '../../src/scheduler/admission.ts';

const SLOTS = { slotCount: 2, maxSeqLength: 10 };
const LIMITS = { maxWaiting: 8, maxWaitingPerTenant: 4, maxWaitingTokens: 40 };
/** Half of all tokens, as of all sequences. */
const TOKENS_PER_TENANT = 20;
const TENANTS = ['a', 'b', 'c'];

const one = (tenant: string, promptTokens = 1): Waiting => ({ tenant, promptTokens });

/** Fills slots and queue as far as they go. Returns the last refusal. */
function fill(admission: Admission, sequence: Waiting, running = 0) {
  for (let i = 0; i < running; i++) {
    admission.enter(sequence);
    admission.start(sequence);
  }
  let accepted = 0;
  for (;;) {
    const refusal = admission.refusal(sequence, SLOTS);
    if (refusal) return { accepted, refusal };
    admission.enter(sequence);
    accepted++;
  }
}

test('T14: a full queue refuses with overloaded, and accepts again when a sequence has started', () => {
  const admission = new Admission({ maxWaiting: 3 });
  const { accepted, refusal } = fill(admission, one('a'), 2);
  assert.equal(accepted, 3);
  assert.equal(refusal.code, 'overloaded');
  admission.end();
  admission.start(one('a'));
  assert.equal(admission.refusal(one('a'), SLOTS), undefined);
});

test('T14: a tenant that fills its own queue gets rate_limit_exceeded, and takes no room of others', () => {
  const admission = new Admission(LIMITS);
  const { accepted, refusal } = fill(admission, one('a'), 2);
  assert.deepEqual([accepted, refusal.code], [4, 'rate_limit_exceeded']);
  assert.equal(fill(admission, one('b')).accepted, 4);
  assert.equal(admission.refusal(one('c'), SLOTS)?.code, 'overloaded');
});

test('T14: prompt tokens are bounded, too, and what fits into free slots does not count', () => {
  const admission = new Admission(LIMITS);
  const long = one('a', SLOTS.maxSeqLength);
  assert.equal(fill(admission, long).accepted, 2 + TOKENS_PER_TENANT / long.promptTokens);
  assert.equal(admission.refusal(one('a', 1), SLOTS)?.code, 'rate_limit_exceeded');
  assert.equal(fill(admission, one('b', SLOTS.maxSeqLength)).accepted, 2);
  assert.equal(admission.refusal(one('c', SLOTS.maxSeqLength), SLOTS)?.code, 'overloaded');
});

test('T14: the time of another try follows from the queue and its pace', () => {
  const clock = { ms: 1_000_000 };
  const admission = new Admission({ maxWaiting: 100, maxWaitingPerTenant: 50 }, () => clock.ms);
  assert.equal(fill(admission, one('a'), 2).refusal.retryAfterS, 1);
  for (let i = 0; i < 10; i++) {
    clock.ms += 200;
    admission.end();
    admission.start(one('a'));
    admission.enter(one('a'));
  }
  // 12 starts in 2 s, and 50 that wait.
  assert.equal(admission.refusal(one('a'), SLOTS)?.retryAfterS, 9);
  assert.equal(fill(admission, one('b')).accepted, 50);
  assert.equal(admission.refusal(one('c'), SLOTS)?.retryAfterS, 17);
  clock.ms += 59_000;
  assert.equal(admission.refusal(one('c'), SLOTS)?.retryAfterS, 60);
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
    const admission = new Admission(limits);
    const waiting: Waiting[] = [];
    let running = 0;
    for (const { kind, tenant, promptTokens, pick } of all) {
      const sequence = one(tenant, promptTokens);
      const [picked] = kind === 'start' || kind === 'leave' ? waiting.splice(pick % 9, 1) : [];
      if (kind === 'submit') {
        const isAccepted = admission.refusal(sequence, SLOTS) === undefined;
        const after = [...waiting, sequence];
        const own = after.filter((other) => other.tenant === tenant);
        const free = SLOTS.slotCount - running;
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
      } else if (kind === 'start' && picked && running < SLOTS.slotCount) {
        admission.start(picked);
        running++;
      } else if (picked) admission.leave(picked);
      else if (kind === 'end' && running > 0) {
        admission.end();
        running--;
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

test('F05: beside an engine that is twenty times slower, requests end in time, and the queue says when to come back', async () => {
  let nowMs = 0;
  const clock = () => nowMs;
  const refused = (stepMs: number) => {
    const admission = new Admission({ maxWaiting: 8 }, clock);
    for (let started = 0; started < 40; started++) {
      const one = { tenant: 'a', promptTokens: 1 };
      admission.enter(one);
      admission.start(one);
      nowMs += stepMs;
      admission.end();
    }
    const slots = { slotCount: 0, maxSeqLength: 256 };
    for (let i = 0; i < 8; i++) admission.enter({ tenant: 'a', promptTokens: 1 });
    return admission.refusal({ tenant: 'a', promptTokens: 1 }, slots)!.retryAfterS!;
  };
  const [usual, slow] = [refused(250), refused(5000)];
  assert.equal(usual, 2);
  assert.ok(slow >= 20 * usual, `${slow} s`);
});
