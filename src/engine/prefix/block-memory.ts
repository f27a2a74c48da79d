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
