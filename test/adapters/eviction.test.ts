// The eviction policy on traces of requests, beside a plain LRU of the same size.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Evictable, EvictionOrder } from '../../adapters/cache/memory.ts';
import { PlainLru, zipfTrace } from './traces.ts';

interface Model {
  readonly byteSize: number;
  readonly loadMs: number;
}

const REQUESTS = 20_000;

interface Outcome {
  hitRatio: number;
  /** Of all that had to be loaded. */
  loadMs: number;
}

function replay(
  trace: readonly number[],
  models: readonly Model[],
  cache: { access(model: number): boolean },
): Outcome {
  let hits = 0;
  let loadMs = 0;
  for (const model of trace) {
    if (cache.access(model)) hits++;
    else loadMs += models[model]!.loadMs;
  }
  return { hitRatio: hits / trace.length, loadMs };
}

class ByCost {
  readonly #order = new EvictionOrder();
  readonly #resident = new Map<number, Evictable>();
  readonly #models: readonly Model[];
  readonly #capacityBytes: number;
  constructor(models: readonly Model[], capacityBytes: number) {
    this.#models = models;
    this.#capacityBytes = capacityBytes;
  }
  access(model: number): boolean {
    const known = this.#resident.get(model);
    const entry = known ?? {
      ...this.#models[model]!,
      uses: 0,
      value: 0,
      warmUntilMs: 0,
    };
    const pressure = { rank: () => 0, nowMs: 1 };
    while (!known && this.#bytes() + entry.byteSize > this.#capacityBytes) {
      const victim = this.#order.choose(this.#resident.values(), pressure)!;
      for (const [one, other] of this.#resident) if (other === victim) this.#resident.delete(one);
    }
    this.#order.use(entry);
    this.#resident.set(model, entry);
    return known !== undefined;
  }
  #bytes(): number {
    let bytes = 0;
    for (const { byteSize } of this.#resident.values()) bytes += byteSize;
    return bytes;
  }
}

const alike = Array.from({ length: 200 }, (): Model => ({ byteSize: 1, loadMs: 10 }));
/** Ranks 4 to 64: bytes and reload time grow with them. */
const ofRanks = Array.from({ length: 200 }, (_, i): Model => {
  const rank = [4, 8, 16, 32, 64][(i * 7) % 5]!;
  return { byteSize: rank, loadMs: 2 + rank / 8 };
});

for (const { name, models, capacityBytes } of [
  { name: '200 adapters, 8 resident', models: alike, capacityBytes: 8 },
  { name: '200 adapters, 50 resident', models: alike, capacityBytes: 50 },
  { name: 'ranks 4 to 64, room for 8 of the middle', models: ofRanks, capacityBytes: 8 * 24 },
]) {
  for (const shiftAt of [undefined, REQUESTS / 2]) {
    const when = shiftAt ? 'whose popularity shifts' : 'of constant popularity';
    test(`${name}: at most 2 points of hits below offline LRU on a Zipf trace ${when}`, (t) => {
      const trace = zipfTrace(200, { requests: REQUESTS, ...(shiftAt && { shiftAt }) });
      const byteSizes = models.map(({ byteSize }) => byteSize);
      const lru = replay(trace, models, new PlainLru(byteSizes, capacityBytes));
      const cost = replay(trace, models, new ByCost(models, capacityBytes));
      t.diagnostic(`hits: ${cost.hitRatio.toFixed(3)}, LRU ${lru.hitRatio.toFixed(3)}`);
      assert.ok(cost.hitRatio >= lru.hitRatio - 0.02);
      assert.ok(cost.loadMs <= lru.loadMs, 'and it loads for no longer');
    });
  }
}

test('of two used alike the one that is cheaper to have again goes', () => {
  const order = new EvictionOrder();
  const common = { byteSize: 10, uses: 0, value: 0, warmUntilMs: 0 };
  const slow = { ...common, loadMs: 500 };
  const fast = { ...common, loadMs: 5 };
  for (const entry of [slow, fast]) order.use(entry);
  const pressure = { rank: () => 0, nowMs: 0 };
  assert.equal(order.choose([slow, fast], pressure), fast);
  for (let i = 0; i < 200; i++) order.use(fast);
  assert.equal(order.choose([slow, fast], pressure), slow);
});

test('the lowest rank goes first, then what is not warm; without a rank it stays', () => {
  const order = new EvictionOrder();
  const common = { byteSize: 1, loadMs: 1, uses: 0, value: 0, warmUntilMs: 0 };
  const [kept, second, warm, first] = [0, 1, 2, 3].map((value) => ({ ...common, value }));
  const ranks = new Map([
    [second!, 2],
    [warm!, 1],
    [first!, 1],
  ]);
  warm!.warmUntilMs = 99;
  const pressure = { rank: (entry: Evictable) => ranks.get(entry as typeof common), nowMs: 0 };
  const left = new Set([kept!, second!, warm!, first!]);
  for (const expected of [first, warm, second, undefined]) {
    const victim = order.choose(left, pressure);
    assert.equal(victim, expected);
    if (victim) left.delete(victim);
  }
});
