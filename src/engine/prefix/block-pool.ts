// Which blocks of tokens the prefix cache holds, in which place, and which one is evicted next. Pure bookkeeping: knows
// keys, tokens and places, but no memory.
import { assert } from '../../common/assert.ts';

/** A cached block. */
export interface Block {
  readonly key: string;
  /** The key of the block before it, or the root. */
  readonly before: string;
  /** The key of everything except tokens that its chain depends on. */
  readonly root: string;
  readonly tokenIds: readonly number[];
  /** The index of its memory. */
  readonly place: number;
  /** A held block is not evicted. */
  holds: number;
}

/** A block to look up or to add. */
export type BlockContent = Omit<Block, 'place' | 'holds'>;

/** A bounded set of blocks. The least recently used ones are evicted first. */
export class BlockPool {
  readonly #capacity: number;
  /**
   * By key, the least recently used first. The blocks before a block are used with it and moved behind it, so the first
   * block is never one that a cached block follows.
   */
  readonly #blocks = new Map<string, Block>();
  readonly #freePlaces: number[] = [];
  /** Places from here on were never used. */
  #nextPlace = 0;
  #evictions = 0;

  /** `capacity` is the number of blocks. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#blocks.size;
  }

  get evictions(): number {
    return this.#evictions;
  }

  /** The cached block with this content. A block with the same key and other tokens is not a match. */
  find({ key, before, tokenIds }: BlockContent): Block | undefined {
    const block = this.#blocks.get(key);
    if (!block || block.before !== before || block.tokenIds.length !== tokenIds.length) return;
    return block.tokenIds.every((id, i) => id === tokenIds[i]) ? block : undefined;
  }

  /** Marks the blocks of a chain, given from its start, as used now. */
  use(chain: readonly Block[]): void {
    for (const block of chain.toReversed()) {
      this.#blocks.delete(block.key);
      this.#blocks.set(block.key, block);
    }
  }

  /** Adds a block. Evicts another one if the pool is full; returns undefined if all blocks are held. */
  add(content: BlockContent): Block | undefined {
    const known = this.#blocks.get(content.key);
    if (known) return undefined; // another content with the same key, so one of both cannot be cached
    const place = this.#takePlace();
    if (place === undefined) return undefined;
    const block = { ...content, place, holds: 0 };
    this.#blocks.set(block.key, block);
    return block;
  }

  /** Removes blocks. None may be held. */
  removeIf(isUnwanted: (block: Block) => boolean): void {
    for (const block of this.#blocks.values()) if (isUnwanted(block)) this.#remove(block);
  }

  #takePlace(): number | undefined {
    if (this.#freePlaces.length === 0 && this.#nextPlace < this.#capacity) return this.#nextPlace++;
    if (this.#freePlaces.length === 0) this.#evict();
    return this.#freePlaces.pop();
  }

  #evict(): void {
    for (const block of this.#blocks.values()) {
      if (block.holds > 0) continue;
      this.#remove(block);
      this.#evictions++;
      return;
    }
  }

  #remove(block: Block): void {
    assert(block.holds === 0, 'a held block stays');
    this.#blocks.delete(block.key);
    this.#freePlaces.push(block.place);
  }
}

// The memory of the prefix cache's blocks, allocated in slabs as blocks are needed.

/** Each allocation makes the garbage collector run, and an unused part of a slab costs no memory. */
const SLAB_BYTES = 256 * 2 ** 20;

/** Memory for blocks of equal size. */
export class BlockMemory {
  readonly blockBytes: number;
  /** How many blocks there can be. */
  readonly capacity: number;
  readonly #slabBlocks: number;
  readonly #slabs: Uint8Array[] = [];

  constructor(blockBytes: number, capacityBytes: number) {
    this.blockBytes = blockBytes;
    this.capacity = Math.floor(capacityBytes / blockBytes);
    this.#slabBlocks = Math.max(1, Math.min(Math.floor(SLAB_BYTES / blockBytes), this.capacity));
  }

  /** The bytes of a block. */
  at(place: number): Uint8Array {
    const index = Math.floor(place / this.#slabBlocks);
    const slab = this.#slabs[index] ?? new Uint8Array(this.#slabBlocks * this.blockBytes);
    this.#slabs[index] = slab;
    const start = (place % this.#slabBlocks) * this.blockBytes;
    return slab.subarray(start, start + this.blockBytes);
  }
}
