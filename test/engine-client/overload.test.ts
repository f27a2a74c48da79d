// Three times the load that can be served, from clients whose time is shorter than queue and service together.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Outcome, type OverloadOptions, overload, type Stream } from './overload.ts';

const SLOTS = 8;
const QUEUE = 64;
const WARM_UP_S = 15;
const SECONDS = 45;
/** The tokens of an answer: a fixed number, one that its limit says, or one that nobody knows. */
const SHAPES: readonly [string, Pick<Stream, 'tokens' | 'endsEarly'>][] = [
  ['answers of one length', { tokens: [20, 20] }],
  ['answers as long as their limits', { tokens: [1, 40] }],
  ['answers of unknown lengths', { tokens: [1, 40], endsEarly: true }],
];
const [, UNKNOWN] = SHAPES[2]!;
const MEAN_TOKENS = 20;
const capacities = new Map<object, Promise<Capacity>>();

async function run(streams: readonly Stream[], options: Partial<OverloadOptions> = {}) {
  const admission = { maxWaiting: QUEUE };
  const times = { seconds: SECONDS, warmUpSeconds: WARM_UP_S };
  const outcomes = await overload({ streams, slotCount: SLOTS, admission, ...times, ...options });
  const all = [...outcomes.values()];
  return { outcomes, all, goodput: sum(all, 'goodTokens') / (SECONDS - WARM_UP_S) };
}

function sum(all: readonly Outcome[], key: 'goodTokens' | 'lostTokens' | 'cutOff'): number {
  return all.reduce((total, outcome) => total + outcome[key], 0);
}

interface Capacity {
  /** Tokens per second. */
  readonly goodput: number;
  /** Answers per second. */
  readonly perSecond: number;
  /** 0.7 times what the whole queue and an answer take. */
  readonly timeMs: number;
}

function capacityOf(shape: Pick<Stream, 'tokens' | 'endsEarly'>): Promise<Capacity> {
  const known = capacities.get(shape) ?? measureCapacity(shape);
  capacities.set(shape, known);
  return known;
}

async function measureCapacity(shape: Pick<Stream, 'tokens' | 'endsEarly'>): Promise<Capacity> {
  const { goodput } = await run([{ ...shape, tenant: 'a', perSecond: 60 }]);
  const perSecond = goodput / MEAN_TOKENS;
  return { goodput, perSecond, timeMs: Math.round((0.7 * 1000 * (SLOTS + QUEUE)) / perSecond) };
}

for (const [what, shape] of SHAPES) {
  test(`T14: ${what}: at 3 times the capacity with deadlines at 0.7 of queue and service, the goodput stays`, async (t) => {
    const { goodput: capacity, perSecond, timeMs } = await capacityOf(shape);
    const streams = [{ ...shape, tenant: 'a', perSecond: 3 * perSecond, timeMs }];
    const blind = await run(streams, { knowsTime: false });
    const { goodput, all } = await run(streams);
    const [ratio, blindRatio] = [goodput / capacity, blind.goodput / capacity];
    t.diagnostic(
      `goodput ${blindRatio.toFixed(2)} without deadlines, ${ratio.toFixed(2)} with them`,
    );
    assert.ok(blindRatio < 0.5, 'it collapses if the queue does not know the deadlines');
    assert.ok(ratio >= 0.85);
    const [{ refused, endedWaiting, offered, retryAfterS }] = all as [Outcome];
    assert.deepEqual(Object.keys(refused), ['overloaded']);
    assert.ok(endedWaiting < offered / 10, 'most are refused at the door');
    assert.ok(retryAfterS >= 1 && retryAfterS <= 10);
  });
}

test('below the capacity, nobody is refused because of a deadline that leaves time', async () => {
  const shape = UNKNOWN;
  const { perSecond, timeMs } = await capacityOf(shape);
  const { all } = await run([{ ...shape, tenant: 'a', perSecond: 0.7 * perSecond, timeMs }]);
  assert.deepEqual([all[0]!.refused, all[0]!.endedWaiting, all[0]!.cutOff], [{}, 0, 0]);
});

test('T15: two tenants with deadlines share the engine by weight, and a light one is always answered', async (t) => {
  const shape = UNKNOWN;
  const { goodput: capacity, perSecond, timeMs } = await capacityOf(shape);
  const of = (tenant: string, load: number, weight = 1): Stream => {
    return { ...shape, tenant, weight, timeMs, perSecond: load * perSecond };
  };
  const { outcomes, goodput } = await run([of('one', 1.5), of('two', 3, 2), of('light', 0.1)]);
  const [one, two, light] = [...outcomes.values()] as [Outcome, Outcome, Outcome];
  t.diagnostic(`${one.goodTokens} and ${two.goodTokens} tokens; light: ${JSON.stringify(light)}`);
  assert.ok(goodput >= 0.85 * capacity);
  const ratio = two.goodTokens / one.goodTokens;
  assert.ok(ratio > 1.8 && ratio < 2.2, `${ratio}`);
  assert.deepEqual([light.refused, light.endedWaiting, light.cutOff], [{}, 0, 0]);
  assert.ok(light.answered > 0);
});
