// Which blocks the prefix cache holds, at which memory index, and which one is evicted next. Pure bookkeeping: copies nothing.
import { assert } from '../../common/assert.ts';
import { populatePages } from '../../ort/libc.ts';

/** A cached block. */
export interface Block {
  readonly key: string;
  /** The key of the preceding block, or the root. */
  readonly before: string;
  /** The key of everything that its chain depends on, except tokens. */
  readonly root: string;
  readonly tokenIds: readonly number[];
  /** The index of its memory. */
  readonly offset: number;
  /** A held block is not evicted. */
  holds: number;
}

/** A block to look up or to add. */
export type BlockContent = Omit<Block, 'offset' | 'holds'>;

/** A bounded set of blocks. The least recently used ones are evicted first. */
export class BlockPool {
  readonly #capacity: number;
  readonly #onRemove: (block: Block) => void;
  /**
   * By key, least recently used first. Using a block also uses its predecessors, which are moved after it, so the first block
   * never has a cached successor.
   */
  readonly #blocks = new Map<string, Block>();
  readonly #freeOffsets: number[] = [];
  /** Memory indices from here on have never been used. */
  #nextOffset = 0;
  #evictions = 0;

  /** `capacity` is the number of blocks. `onRemove` is called for each block that is evicted or removed, but not discarded. */
  constructor(capacity: number, onRemove: (block: Block) => void = () => {}) {
    this.#capacity = capacity;
    this.#onRemove = onRemove;
  }

  get size(): number {
    return this.#blocks.size;
  }

  get evictions(): number {
    return this.#evictions;
  }

  /** Returns the cached block with this content. A block with the same key but other tokens does not match. */
  find({ key, before, tokenIds }: BlockContent): Block | undefined {
    const block = this.#blocks.get(key);
    if (!block || block.before !== before || block.tokenIds.length !== tokenIds.length) return;
    return block.tokenIds.every((id, i) => id === tokenIds[i]) ? block : undefined;
  }

  /** Marks the blocks of a chain, given from its start, as just used. */
  use(chain: readonly Block[]): void {
    for (const block of chain.toReversed()) {
      this.#blocks.delete(block.key);
      this.#blocks.set(block.key, block);
    }
  }

  /** Adds a block. Evicts another one if the pool is full; returns undefined if all blocks are held. */
  add(content: BlockContent): Block | undefined {
    const known = this.#blocks.get(content.key);
    if (known) return undefined; // other content with the same key, so only one of them can be cached
    const offset = this.#takeOffset();
    if (offset === undefined) return undefined;
    const block = { ...content, offset, holds: 0 };
    this.#blocks.set(block.key, block);
    return block;
  }

  /** Removes blocks. None may be held. */
  removeIf(isUnwanted: (block: Block) => boolean): void {
    for (const block of this.#blocks.values()) if (isUnwanted(block)) this.#remove(block);
  }

  /** Removes a block that was added, but whose content cannot be cached. */
  discard(block: Block): void {
    this.#blocks.delete(block.key);
    this.#freeOffsets.push(block.offset);
  }

  #takeOffset(): number | undefined {
    if (this.#freeOffsets.length === 0 && this.#nextOffset < this.#capacity)
      return this.#nextOffset++;
    if (this.#freeOffsets.length === 0) this.#evict();
    return this.#freeOffsets.pop();
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
    this.discard(block);
    this.#onRemove(block);
  }
}

// The memory of the prefix cache's blocks, allocated in slabs as blocks are needed.

/** Each allocation triggers the garbage collector, and the unused part of a slab costs no memory. */
const SLAB_BYTES = 256 * 2 ** 20;
/** Pages are prepared in groups of so many bytes. A step waits three times as long for a copy to new pages as to used ones. */
const GROUP_BYTES = 8 * 2 ** 20;

/** Memory for blocks of equal size. */
export class BlockMemory {
  readonly blockBytes: number;
  /** The most blocks that there can be. */
  readonly capacity: number;
  readonly #slabBlocks: number;
  readonly #slabs: Uint8Array<ArrayBuffer>[] = [];
  readonly #groupBlocks: number;
  /** Offsets from here on have no pages yet, except those of the group that is being prepared. */
  #usedOffsets = 0;

  constructor(blockBytes: number, capacityBytes: number) {
    this.blockBytes = blockBytes;
    this.capacity = Math.floor(capacityBytes / blockBytes);
    this.#slabBlocks = Math.max(1, Math.min(Math.floor(SLAB_BYTES / blockBytes), this.capacity));
    this.#groupBlocks = Math.max(1, Math.floor(GROUP_BYTES / blockBytes));
  }

  /** The bytes of a block. */
  at(offset: number): Uint8Array {
    const index = Math.floor(offset / this.#slabBlocks);
    const slab = this.#slabs[index] ?? new Uint8Array(this.#slabBlocks * this.blockBytes);
    this.#slabs[index] = slab;
    const inSlab = offset % this.#slabBlocks;
    if (offset >= this.#usedOffsets) {
      this.#usedOffsets = offset + 1;
      if (inSlab % this.#groupBlocks === 0) this.#prepare(slab, inSlab + this.#groupBlocks);
    }
    const start = inSlab * this.blockBytes;
    return slab.subarray(start, start + this.blockBytes);
  }

  /** Prepares the pages of a group before its first block is used. */
  #prepare({ buffer }: Uint8Array<ArrayBuffer>, first: number): void {
    const end = Math.min(first + this.#groupBlocks, this.#slabBlocks);
    if (first < end) {
      void populatePages(buffer, first * this.blockBytes, (end - first) * this.blockBytes);
    }
  }
}
