import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Block, type BlockContent, BlockPool } from '../../../src/engine/prefix/block-pool.ts';

/** Blocks of one token each: a chain is a list of tokens. */
function contentOf(tokens: readonly number[], root = 'r'): BlockContent {
  const before = tokens.length === 1 ? root : `${root}:${tokens.slice(0, -1)}`;
  return { key: `${root}:${tokens}`, before, root, tokenIds: tokens.slice(-1) };
}

const chainOf = (tokens: readonly number[], root?: string) =>
  tokens.map((_, i) => contentOf(tokens.slice(0, i + 1), root));

/** Saves a chain as the cache does: its blocks are held until all are added, then used. */
function save(pool: BlockPool, tokens: readonly number[], root?: string): Block[] {
  const held: Block[] = [];
  for (const content of chainOf(tokens, root)) {
    const block = pool.find(content) ?? pool.add(content);
    if (!block) break;
    block.holds++;
    held.push(block);
  }
  for (const block of held) block.holds--;
  pool.use(held);
  return held;
}

function cached(pool: BlockPool, tokens: readonly number[], root?: string): number {
  const missing = chainOf(tokens, root).findIndex((content) => !pool.find(content));
  return missing < 0 ? tokens.length : missing;
}

test('the least recently used chain is evicted first, from its end', () => {
  const pool = new BlockPool(4);
  save(pool, [1, 2]);
  save(pool, [3, 4]);
  pool.use(chainOf([1, 2]).map((content) => pool.find(content)!));
  save(pool, [5]);
  assert.deepEqual(
    [[1, 2], [3, 4], [5]].map((tokens) => cached(pool, tokens)),
    [2, 1, 1],
  );
  assert.equal(pool.evictions, 1);
});

test('a chain that is longer than the pool keeps its beginning, and does not evict its own blocks', () => {
  const pool = new BlockPool(3);
  save(pool, [9, 8]);
  save(pool, [1, 2, 3, 4, 5]);
  assert.equal(cached(pool, [1, 2, 3, 4, 5]), 3);
  assert.equal(cached(pool, [9, 8]), 0);
});

test('a held block stays, whatever is added', () => {
  const pool = new BlockPool(2);
  const [block] = save(pool, [1]);
  block!.holds++;
  for (let token = 10; token < 20; token++) save(pool, [token]);
  assert.equal(cached(pool, [1]), 1);
  block!.holds--;
  save(pool, [20]);
  save(pool, [21]);
  assert.equal(cached(pool, [1]), 0);
  assert.equal(pool.size, 2);
});

test('a block with the same key and other tokens is not found, and not replaced', () => {
  const pool = new BlockPool(2);
  save(pool, [1]);
  const collision = { ...contentOf([1]), tokenIds: [2] };
  assert.equal(pool.find(collision), undefined);
  assert.equal(pool.add(collision), undefined);
  assert.equal(pool.find({ ...contentOf([1]), before: 'another chain' }), undefined);
  assert.ok(pool.find(contentOf([1])));
});

test('removing a root leaves the others, and frees its places', () => {
  const pool = new BlockPool(4);
  save(pool, [1, 2], 'a');
  save(pool, [1, 2], 'b');
  pool.removeIf(({ root }) => root === 'a');
  assert.deepEqual([cached(pool, [1, 2], 'a'), cached(pool, [1, 2], 'b')], [0, 2]);
  assert.deepEqual(save(pool, [7, 8], 'c').length, 2);
  assert.equal(pool.evictions, 0);
});

test('under random use no two blocks share a offset, no block outlives the one before it, and the limit holds', () => {
  const chain = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 6 });
  const operation = fc.record({ chain, root: fc.constantFrom('a', 'b'), kind: fc.nat(9) });
  const random = fc.property(fc.integer({ min: 1, max: 6 }), fc.array(operation), (size, all) => {
    const pool = new BlockPool(size);
    const seen = new Map<string, BlockContent>();
    for (const { chain, root, kind } of all) {
      if (kind === 0) pool.removeIf((block) => block.root === root);
      else if (kind < 7) save(pool, chain, root);
      else
        pool.use(
          chainOf(chain, root)
            .slice(0, cached(pool, chain, root))
            .map((c) => pool.find(c)!),
        );
      for (const content of chainOf(chain, root)) seen.set(content.key, content);
      const blocks = [...seen.values()].flatMap((content) => pool.find(content) ?? []);
      assert.equal(blocks.length, pool.size);
      assert.ok(pool.size <= size);
      assert.equal(new Set(blocks.map(({ offset }) => offset)).size, blocks.length);
      assert.ok(blocks.every(({ offset }) => offset < size));
      const keys = new Set(blocks.map(({ key }) => key));
      assert.ok(blocks.every(({ before, root }) => before === root || keys.has(before)));
    }
  });
  fc.assert(random, { seed: 20261126, numRuns: 500 });
});
