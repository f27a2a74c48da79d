// The prefix cache: copies of the keys and values of finished prefills, in blocks of tokens, so that a later prompt with the
// same prefix skips it. Works on slots and tokens.

import { createHash } from 'node:crypto';
import { assert } from '../../common/assert.ts';
import { BLOCK_TOKENS, type PrefixCacheStats, type PrefixEvent } from '../../contracts/engine.ts';
import type { AdapterSource, AdapterSourcePart } from '../../contracts/generation.ts';
import type { OrtType } from '../../ort/tensor.ts';
import type { SlotId } from '../batch.ts';
import type { KvPositions } from '../kv-cache.ts';
import { type Block, type BlockContent, BlockMemory, BlockPool } from './block-pool.ts';
import { PrefixEvents } from './prefix-events.ts';

/** A prompt and the keys of its blocks. */
export interface PrefixChain {
  readonly promptIds: readonly number[];
  /** The key of everything that the prompt's keys and values depend on, except tokens. */
  readonly root: string;
  /** The same for blocks that the base alone computes, which end at or before `adapterFrom`. */
  readonly baseRoot: string;
  readonly adapterFrom: number;
  /** The digest of the prompt's adapter. */
  readonly adapter?: string | undefined;
  /** The keys of the prompt's whole blocks, in order. Equal keys mean equal tokens up to that block. */
  readonly keys: readonly string[];
}

/** The sequence that uses the cache. */
interface PrefixUser {
  readonly adapter: AdapterSource | undefined;
  readonly scope: string;
  readonly adapterFrom?: number;
}

/** The KV cache that the blocks come from, and the most memory that they may take. */
interface PrefixCacheOptions {
  readonly positions: KvPositions;
  /** Identifies the served base and the form of its weights. */
  readonly served: string;
  readonly capacityBytes: number;
  /** Whether changes are recorded for `takeEvents`. Default: false. */
  readonly recordsEvents?: boolean | undefined;
}

/** Caches the blocks of one engine. */
export class PrefixCache {
  readonly #positions: KvPositions;
  readonly #served: string;
  readonly #memory: BlockMemory;
  readonly #pool: BlockPool;
  readonly #events: PrefixEvents | undefined;

  constructor({ positions, served, capacityBytes, recordsEvents }: PrefixCacheOptions) {
    this.#positions = positions;
    this.#served = `${served} kv ${positions.type}`;
    this.#memory = new BlockMemory(BLOCK_TOKENS * positions.byteSize, capacityBytes);
    this.#events = recordsEvents ? new PrefixEvents() : undefined;
    this.#pool = new BlockPool(this.#memory.capacity, ({ key }) => this.#events?.removed(key));
  }

  /**
   * Returns the keys of a prompt whose tokens use the adapter from `adapterFrom` (default: 0) on. Sequences of different scopes
   * share no blocks. Sequences with different adapters share only the blocks before that position.
   */
  chainOf(
    { adapter, scope, adapterFrom = 0 }: PrefixUser,
    promptIds: readonly number[],
  ): PrefixChain {
    const rootOf = (parts: AdapterSource['parts']) =>
      rootKey({ served: this.#served, adapter: parts, scope });
    const root = rootOf(adapter?.parts ?? []);
    const baseRoot = adapterFrom > 0 ? rootOf([]) : root;
    const chain = { root, baseRoot, adapterFrom, adapter: adapter?.digest, promptIds };
    return { ...chain, keys: blocksOf({ ...chain, keys: [] }, promptIds).map(({ key }) => key) };
  }

  /**
   * Returns how many tokens at the start of the prompt are cached. The last token never is, because its logits are needed. One
   * that would be left over alone, at the end or before an adapter starts, is computed together with the block before it,
   * because a single token is computed in another way than several.
   */
  cachedTokens(chain: PrefixChain): number {
    const { promptIds, adapterFrom } = chain;
    const length = this.#find(chain, promptIds.slice(0, -1)).length * BLOCK_TOKENS;
    const next = length < adapterFrom ? adapterFrom : promptIds.length;
    return next - length === 1 && length > 0 ? length - BLOCK_TOKENS : length;
  }

  /** Copies the first `length` tokens of the prompt to a slot. `length` is the result of `cachedTokens`. */
  restore(chain: PrefixChain, length: number, slot: SlotId): void {
    const blocks = this.#find(chain, chain.promptIds.slice(0, length));
    assert(blocks.length * BLOCK_TOKENS === length, 'the prefix is still cached');
    this.#pool.use(blocks);
    blocks.forEach(({ offset }, i) => {
      this.#positions.write(slot, i * BLOCK_TOKENS, this.#memory.at(offset));
    });
  }

  /**
   * Caches what a slot has computed for these tokens, in whole blocks. Stops at values that are not finite, or if every cached
   * block is in use.
   */
  save(chain: PrefixChain, tokenIds: readonly number[], slot: SlotId): void {
    const held: Block[] = [];
    for (const content of blocksOf(chain, tokenIds)) {
      const known = this.#pool.find(content);
      const block = known ?? this.#copy(content, slot, held.length);
      if (!block) break;
      if (!known) {
        const adapter = block.root === chain.root ? chain.adapter : undefined;
        this.#events?.stored(block, { parent: held.at(-1)?.key, adapter });
      }
      block.holds++;
      held.push(block);
    }
    for (const block of held) block.holds--;
    this.#pool.use(held);
  }

  /** Removes everything that depends on the same base, adapter and scope. */
  forget({ root, baseRoot }: PrefixChain): void {
    this.#pool.removeIf((block) => block.root === root || block.root === baseRoot);
  }

  /** Returns what has changed since the last call, in order. Empty if changes are not recorded. */
  takeEvents(): PrefixEvent[] {
    return this.#events?.take() ?? [];
  }

  stats(): PrefixCacheStats {
    const { size, evictions } = this.#pool;
    const { blockBytes, capacity } = this.#memory;
    return {
      bytes: size * blockBytes,
      capacityBytes: capacity * blockBytes,
      capacityBlocks: capacity,
      evictions,
    };
  }

  #find(chain: PrefixChain, tokenIds: readonly number[]): Block[] {
    const found: Block[] = [];
    for (const content of blocksOf(chain, tokenIds)) {
      const block = this.#pool.find(content);
      if (!block) break;
      found.push(block);
    }
    return found;
  }

  /** Copies block `index` of a slot. Returns undefined if it cannot be cached. */
  #copy(content: BlockContent, slot: SlotId, index: number): Block | undefined {
    const block = this.#pool.add(content);
    if (!block) return undefined;
    const bytes = this.#memory.at(block.offset);
    this.#positions.read(slot, index * BLOCK_TOKENS, bytes);
    if (hasOnlyFinite(this.#positions.type, this.#lastLayer(bytes))) return block;
    this.#pool.discard(block);
    return undefined;
  }

  /**
   * A value that is not finite spreads to all later layers of its position, so the last layer shows it. Checking all layers
   * would take as long as copying them.
   */
  #lastLayer(block: Uint8Array): Uint8Array {
    return block.subarray(-BLOCK_TOKENS * this.#positions.layerByteSize);
  }
}

/** Returns the whole blocks of a sequence whose tokens begin with the chain's prompt. */
function blocksOf(
  chain: Omit<PrefixChain, 'promptIds'>,
  allIds: readonly number[],
): BlockContent[] {
  const { adapterFrom, keys } = chain;
  const blocks: BlockContent[] = [];
  let root = adapterFrom >= BLOCK_TOKENS ? chain.baseRoot : chain.root;
  let before = root;
  for (let end = BLOCK_TOKENS; end <= allIds.length; end += BLOCK_TOKENS) {
    if (end > adapterFrom && root !== chain.root) {
      root = chain.root;
      before = `${before} ${root}`;
    }
    const tokenIds = allIds.slice(end - BLOCK_TOKENS, end);
    const key = keys[blocks.length] ?? blockKey(before, tokenIds);
    blocks.push({ key, before, root, tokenIds });
    before = key;
  }
  return blocks;
}

/** The bits of a float's exponent, which are all set if the value is not finite. */
const EXPONENTS: Partial<Record<OrtType, number>> = { float32: 0x7f800000, float16: 0x7c00 };

/** Whether values are all finite, as codes always are. */
function hasOnlyFinite(type: OrtType, { buffer, byteOffset, byteLength }: Uint8Array): boolean {
  const exponent = EXPONENTS[type];
  if (!exponent) return true;
  const bits =
    type === 'float32'
      ? new Uint32Array(buffer, byteOffset, byteLength / 4)
      : new Uint16Array(buffer, byteOffset, byteLength / 2);
  return bits.every((value) => (value & exponent) !== exponent);
}

// The keys of cached blocks: a chain of digests. A key covers everything that keys and values depend on: the served base, the
// adapter's content, the scope, the block's tokens and all tokens before them.

/** Everything that keys and values depend on, except tokens. */
export interface PrefixRoot {
  /** The base, the form of its weights and the type of the cache. */
  readonly served: string;
  /** The parts of the adapter with their factors. Empty for the base. */
  readonly adapter: readonly Pick<AdapterSourcePart, 'digest' | 'weight'>[];
  /** Sequences of different scopes share nothing. */
  readonly scope: string;
}

/** Returns the key before the first block. */
export function rootKey({ served, adapter, scope }: PrefixRoot): string {
  const parts = adapter.flatMap(({ digest, weight }) => [digest, String(weight)]);
  const hash = createHash('sha256');
  // The length before each field distinguishes "ab", "c" from "a", "bc".
  for (const field of ['root', served, scope, ...parts]) {
    hash.update(`${Buffer.byteLength(field)}:${field}`);
  }
  return hash.digest('base64url');
}

/** Returns the key of a block that follows the block with key `before`. */
export function blockKey(before: string, tokenIds: readonly number[]): string {
  const hash = createHash('sha256');
  hash.update(`block:${before}`);
  return hash.update(Int32Array.from(tokenIds)).digest('base64url');
}
