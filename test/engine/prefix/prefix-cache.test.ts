import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_TOKENS } from '../../../src/contracts/engine.ts';
import type { AdapterSource } from '../../../src/contracts/generation.ts';
import type { SlotId } from '../../../src/engine/batch.ts';
import { KvCache } from '../../../src/engine/kv-cache.ts';
import { PrefixCache } from '../../../src/engine/prefix/prefix-cache.ts';
import { plainSource } from '../../adapters/sources.ts';
import { seededRandom, tinyModel } from '../../fixtures.ts';
import { PlainPrefixes } from './plain-prefixes.ts';

const { config } = tinyModel();
const SLOT = 1 as SlotId;
const OTHER_SLOT = 2 as SlotId;
const POSITIONS = 8 * BLOCK_TOKENS;

interface User {
  readonly adapter: AdapterSource | undefined;
  readonly scope: string;
}

const rootOf = ({ adapter, scope }: User) => ({
  served: 'base',
  adapter: adapter?.parts ?? [],
  scope,
});

class Bench {
  readonly kv: KvCache;
  readonly cache: PrefixCache;

  constructor(blocks: number, type: 'f32' | 'f16' = 'f32') {
    this.kv = new KvCache(config, { slotCount: 3, maxSeqLength: POSITIONS, type });
    const positions = this.kv.positions!;
    const capacityBytes = blocks * BLOCK_TOKENS * positions.byteSize;
    this.cache = new PrefixCache({ positions, served: 'base', capacityBytes, recordsEvents: true });
  }

  /** Saves tokens as if a slot had computed them. */
  save(user: User, tokenIds: readonly number[]): void {
    this.#fill(SLOT, valuesOf(user, tokenIds));
    this.cache.save(this.cache.chainOf(user, tokenIds), tokenIds, SLOT);
  }

  cachedTokens(user: User, promptIds: readonly number[]): number {
    return this.cache.cachedTokens(this.cache.chainOf(user, promptIds));
  }

  /** Restores the cached prefix, checks every value of it, and returns its length. */
  restore(user: User, promptIds: readonly number[]): number {
    const chain = this.cache.chainOf(user, promptIds);
    const length = this.cache.cachedTokens(chain);
    this.#fill(
      OTHER_SLOT,
      Array.from({ length: POSITIONS }, () => -1),
    );
    this.cache.restore(chain, length, OTHER_SLOT);
    const expected = [
      ...valuesOf(user, promptIds).slice(0, length),
      ...Array(POSITIONS - length).fill(-1),
    ];
    this.#each(OTHER_SLOT, (data, start, position) => {
      assert.equal(data[start], expected[position], `position ${position}`);
    });
    return length;
  }

  /** Sets one value of the last layer, which every fault reaches. */
  poison(position: number, channel: number, fault: number): void {
    const { value } = this.kv.range(SLOT, 1).at(-1)!;
    (value.data as Float32Array)[position * config.headDim + channel] = fault;
  }

  fill(user: User, tokenIds: readonly number[]): void {
    this.#fill(SLOT, valuesOf(user, tokenIds));
  }

  #fill(slot: SlotId, values: readonly number[]): void {
    this.#each(slot, (data, start, position) => {
      if (position < values.length) data.fill(values[position]!, start, start + config.headDim);
    });
  }

  /** Visits the vector of every layer, half, head and position. */
  #each(slot: SlotId, visit: (data: Float32Array, start: number, position: number) => void): void {
    for (const { key, value } of this.kv.range(slot, 1)) {
      for (const { data } of [key, value]) {
        for (let start = 0; start < data.length; start += config.headDim) {
          visit(data as Float32Array, start, (start / config.headDim) % POSITIONS);
        }
      }
    }
  }
}

/** A value per position, which depends on everything that a real one depends on. */
function valuesOf(user: User, tokenIds: readonly number[]): number[] {
  let seed =
    [...JSON.stringify(rootOf(user))].reduce((sum, char) => sum * 31 + char.charCodeAt(0), 7) | 0;
  return tokenIds.map((id) => {
    seed = (Math.imul(seed, 31) + id) | 0;
    return Math.fround(seededRandom(seed)());
  });
}

const BASE: User = { adapter: undefined, scope: 'a' };
/** Half of the tokens of long prompts are equal, so that prefixes of all lengths are shared. */
const promptOf = (length: number, change = length) =>
  Array.from({ length }, (_, i) => (i < change ? i : i + 1000));

test('whole blocks of a saved prompt are copied back, and the last token of a prompt never is', () => {
  const bench = new Bench(20);
  bench.save(BASE, promptOf(3 * BLOCK_TOKENS + 5));
  assert.equal(bench.restore(BASE, promptOf(3 * BLOCK_TOKENS + 5)), 3 * BLOCK_TOKENS);
  assert.equal(bench.restore(BASE, promptOf(3 * BLOCK_TOKENS)), 2 * BLOCK_TOKENS);
  assert.equal(bench.restore(BASE, promptOf(90, 2 * BLOCK_TOKENS + 1)), 2 * BLOCK_TOKENS);
  assert.equal(bench.restore(BASE, promptOf(BLOCK_TOKENS)), 0);
  const { bytes, capacityBytes } = bench.cache.stats();
  assert.equal(bytes / capacityBytes, 3 / 20);
});

test('scopes, adapters, their versions and the weights of a composition share nothing', () => {
  const bench = new Bench(40);
  const composition = (weight: number): AdapterSource => ({
    ...plainSource('c'),
    parts: [
      { digest: 'x', directory: '/x', weight },
      { digest: 'y', directory: '/y', weight: 1 },
    ],
  });
  const users: User[] = [
    BASE,
    { ...BASE, scope: 'b' },
    { ...BASE, adapter: plainSource('zen-1') },
    { ...BASE, adapter: plainSource('zen-2') },
    { ...BASE, adapter: composition(0.5) },
    { ...BASE, adapter: composition(0.25) },
  ];
  const prompt = promptOf(2 * BLOCK_TOKENS + 2);
  for (const [i, user] of users.entries()) {
    for (const stranger of users.slice(i)) assert.equal(bench.cachedTokens(stranger, prompt), 0);
    bench.save(user, prompt);
  }
  for (const user of users) assert.equal(bench.restore(user, prompt), 2 * BLOCK_TOKENS);
});

test('a block with a value that is not finite is not kept, nor is anything after it', () => {
  for (const fault of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (let channel = 0; channel < config.headDim; channel++) {
      const bench = new Bench(20);
      const prompt = promptOf(4 * BLOCK_TOKENS);
      bench.fill(BASE, prompt);
      bench.poison(2 * BLOCK_TOKENS + 3, channel, fault);
      bench.cache.save(bench.cache.chainOf(BASE, prompt), prompt, SLOT);
      assert.equal(bench.restore(BASE, promptOf(5 * BLOCK_TOKENS)), 2 * BLOCK_TOKENS);
    }
  }
});

test('a block of floats of 16 bits is kept if its values are finite', () => {
  for (const [bits, kept] of [
    [0x7bff, 4], // the largest
    [0x7c00, 2],
    [0xfc00, 2],
    [0x7e00, 2],
  ] as const) {
    const bench = new Bench(20, 'f16');
    const prompt = promptOf(4 * BLOCK_TOKENS);
    const { value } = bench.kv.range(SLOT, 1).at(-1)!;
    (value.data as Uint16Array)[(2 * BLOCK_TOKENS + 3) * config.headDim] = bits;
    bench.cache.save(bench.cache.chainOf(BASE, prompt), prompt, SLOT);
    const longer = promptOf(5 * BLOCK_TOKENS);
    assert.equal(bench.cachedTokens(BASE, longer), kept * BLOCK_TOKENS, bits.toString(16));
  }
});

test('forgetting a chain removes all that has the same root, and nothing else', () => {
  const bench = new Bench(20);
  const other = { ...BASE, scope: 'b' };
  const prompt = promptOf(3 * BLOCK_TOKENS);
  for (const user of [BASE, other]) bench.save(user, prompt);
  bench.save(BASE, promptOf(3 * BLOCK_TOKENS, BLOCK_TOKENS));
  bench.cache.forget(bench.cache.chainOf(BASE, [1, 2]));
  assert.equal(bench.cachedTokens(BASE, prompt), 0);
  assert.equal(bench.cachedTokens(BASE, promptOf(3 * BLOCK_TOKENS, BLOCK_TOKENS)), 0);
  assert.equal(bench.restore(other, prompt), 2 * BLOCK_TOKENS);
});

test('a prefix that is not cached any more is not restored', () => {
  const bench = new Bench(2);
  bench.save(BASE, promptOf(2 * BLOCK_TOKENS));
  const chain = bench.cache.chainOf(BASE, promptOf(40));
  bench.save({ ...BASE, scope: 'b' }, promptOf(2 * BLOCK_TOKENS));
  assert.throws(() => bench.cache.restore(chain, 2 * BLOCK_TOKENS, OTHER_SLOT), /still cached/);
});

/** What a router knows of the cache: the tokens and the adapter of each cached block, by key. */
class Follower {
  readonly blocks = new Map<string, { tokenIds: readonly number[]; adapter: string | undefined }>();

  follow(cache: PrefixCache): void {
    for (const event of cache.takeEvents()) {
      assert(event.type !== 'cleared');
      if (event.type === 'removed') {
        for (const key of event.keys) assert.ok(this.blocks.delete(key), 'it was cached');
        continue;
      }
      const { keys, parent, tokenIds, adapter } = event;
      assert.ok(parent === undefined || this.blocks.has(parent), 'its predecessor is cached');
      assert.equal(tokenIds.length, keys.length * BLOCK_TOKENS);
      for (const [i, key] of keys.entries()) {
        assert.ok(!this.blocks.has(key), 'it was not cached');
        const start = i * BLOCK_TOKENS;
        this.blocks.set(key, { tokenIds: tokenIds.slice(start, start + BLOCK_TOKENS), adapter });
      }
    }
  }

  /** Returns how many tokens at the start of the prompt are cached. */
  cachedTokens(cache: PrefixCache, user: User, promptIds: readonly number[]): number {
    const { keys } = cache.chainOf(user, promptIds);
    const missing = keys.findIndex((key) => !this.blocks.has(key));
    const found = missing < 0 ? keys : keys.slice(0, missing);
    for (const [i, key] of found.entries()) {
      const tokenIds = promptIds.slice(i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS);
      assert.deepEqual(this.blocks.get(key), { tokenIds, adapter: user.adapter?.digest });
    }
    return found.length * BLOCK_TOKENS;
  }
}

test('the events of an aLoRA name the adapter from its first block on', () => {
  const bench = new Bench(20);
  const prompt = promptOf(4 * BLOCK_TOKENS);
  const activated = { adapter: plainSource('a'), scope: 's', adapterFrom: 40 };
  const chain = bench.cache.chainOf(activated, prompt);
  bench.cache.save(chain, prompt, SLOT);
  const [first, second, third, fourth] = chain.keys as [string, string, string, string];
  const shared = { type: 'stored', keys: [first, second], parent: undefined, adapter: undefined };
  const own = { type: 'stored', keys: [third, fourth], parent: second, adapter: chain.adapter };
  assert.deepEqual(bench.cache.takeEvents(), [
    { ...shared, tokenIds: prompt.slice(0, 32) },
    { ...own, tokenIds: prompt.slice(32) },
  ]);
  bench.cache.forget(chain);
  const keys = [fourth, third, second, first];
  assert.deepEqual(bench.cache.takeEvents(), [{ type: 'removed', keys }]);
  assert.deepEqual(bench.cache.takeEvents(), []);
});

test('a block that is not kept has no event', () => {
  const bench = new Bench(20);
  bench.fill(BASE, promptOf(BLOCK_TOKENS));
  bench.poison(3, 0, Number.NaN);
  bench.cache.save(bench.cache.chainOf(BASE, promptOf(20)), promptOf(20), SLOT);
  assert.deepEqual(bench.cache.takeEvents(), []);
});

const user = fc.record({
  adapter: fc.constantFrom(undefined, plainSource('x'), plainSource('y')),
  scope: fc.constantFrom('a', 'b'),
});
const prompt = fc
  .tuple(
    fc.integer({ min: 1, max: 5 * BLOCK_TOKENS }),
    fc.integer({ min: 0, max: 5 * BLOCK_TOKENS }),
  )
  .map(([length, change]) => promptOf(length, change));

test('with room for all, exactly as much is cached as whole sequences would give, and values are right', () => {
  const operation = fc.record({ user, prompt, saves: fc.boolean() });
  const random = fc.property(fc.array(operation, { maxLength: 12 }), (all) => {
    const bench = new Bench(100);
    const plain = new PlainPrefixes(BLOCK_TOKENS);
    for (const { user, prompt, saves } of all) {
      assert.equal(bench.restore(user, prompt), plain.cachedTokens(rootOf(user), prompt));
      if (!saves) continue;
      bench.save(user, prompt);
      plain.save(rootOf(user), prompt);
    }
  });
  fc.assert(random, { seed: 20261126, numRuns: 60 });
});

test('with little room, never more is cached than was saved, values are right, and events tell what is cached', () => {
  const operation = fc.record({ user, prompt });
  const operations = fc.array(operation, { maxLength: 12 });
  const random = fc.property(fc.integer({ min: 1, max: 7 }), operations, (blocks, all) => {
    const bench = new Bench(blocks);
    const plain = new PlainPrefixes(BLOCK_TOKENS);
    const follower = new Follower();
    for (const { user, prompt } of all) {
      assert.ok(bench.restore(user, prompt) <= plain.cachedTokens(rootOf(user), prompt));
      bench.save(user, prompt);
      plain.save(rootOf(user), prompt);
      const longer = [...prompt, 0, 0];
      const room = Math.min(blocks, Math.floor(prompt.length / BLOCK_TOKENS));
      assert.ok(bench.cachedTokens(user, longer) >= room * BLOCK_TOKENS, 'the last one stays');
      const { bytes, capacityBytes } = bench.cache.stats();
      assert.ok(bytes <= capacityBytes);
      follower.follow(bench.cache);
      assert.equal(follower.blocks.size, (blocks * bytes) / capacityBytes);
      for (const other of all) {
        const promptIds = [...other.prompt, 0, 0];
        const isCached = follower.cachedTokens(bench.cache, other.user, promptIds);
        assert.equal(isCached, bench.cachedTokens(other.user, promptIds));
      }
    }
  });
  fc.assert(random, { seed: 20261126, numRuns: 60 });
});

test('tokens before an activated adapter begins are those of the base in the same scope', () => {
  const bench = new Bench(20);
  const prompt = promptOf(64);
  const ofBase = { adapter: undefined, scope: 's' };
  const plain = { adapter: plainSource('a'), scope: 's' };
  const activated = { ...plain, adapterFrom: 40 };
  bench.cache.save(bench.cache.chainOf(ofBase, prompt), prompt, SLOT);
  const cached = (user: Parameters<PrefixCache['chainOf']>[0]) =>
    bench.cache.cachedTokens(bench.cache.chainOf(user, prompt));
  assert.equal(cached(activated), 32, 'two whole blocks end before token 40');
  assert.equal(cached({ ...activated, adapterFrom: 15 }), 0);
  assert.equal(cached({ ...activated, adapterFrom: 33 }), 16, 'token 32 would be computed alone');
  assert.equal(cached({ ...activated, scope: 'other' }), 0);
  assert.equal(cached({ ...activated, adapterFrom: Number.POSITIVE_INFINITY }), 48);
  bench.cache.save(bench.cache.chainOf(activated, prompt), prompt, SLOT);
  assert.equal(cached(activated), 48);
  assert.equal(cached({ ...activated, adapter: plainSource('b') }), 32);
  assert.equal(cached(plain), 0, 'the adapter without an invocation');
  bench.cache.forget(bench.cache.chainOf(activated, prompt));
  assert.equal(cached(ofBase), 0, 'the fault may be in the part of the base');
});
