// A file's bytes as the memory of tensors, read-only and without a copy.
import { closeSync, fstatSync, readSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { assert } from '../common/assert.ts';
import { openRegular } from '../common/regular-file.ts';
import { addressOf, lastErrno } from './ffi.ts';
import { Handle, releaseWhenCollected } from './handle.ts';
import { libc } from './libc.ts';
import { type Memory, type OrtTensor, type OrtType, tensorOver } from './tensor.ts';

/** Constants of mmap and madvise, which are the same on Linux and macOS. */
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;
const MADV_DONTNEED = 4;

/**
 * A memory-mapped file. Its pages stay mapped while anything refers to the file: tensors, bindings or sessions. Never truncate
 * the file meanwhile: touching a lost page ends the process. Replace it by renaming.
 */
export class MappedFile {
  readonly byteLength: number;
  #memory: Memory | undefined;

  /** Use `mapFile`. */
  constructor(memory: Memory) {
    this.byteLength = memory.byteLength;
    this.#memory = memory;
  }

  /**
   * Returns a read-only tensor over the file's bytes, for inputs and initializers. It has no `data`. Asserts that it lies
   * inside the file and is aligned to its elements.
   */
  tensor<T extends OrtType>(type: T, shape: readonly number[], byteOffset: number): OrtTensor<T> {
    assert(this.#memory, 'mapped file was released');
    return tensorOver(type, shape, { memory: this.#memory, byteOffset });
  }

  /**
   * Frees the memory of the pages. The next access reads a page again, usually from the page cache. Does nothing if the file
   * was read instead of mapped, or if the system refuses.
   */
  dropPages(): void {
    if (!this.#memory || this.#memory.buffer) return;
    libc('madvise', this.#memory.address, this.#memory.byteLength, MADV_DONTNEED);
  }

  /** Ends the creation of tensors. Existing tensors keep the pages. A second call does nothing. */
  release(): void {
    this.#memory = undefined;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Maps a file, or reads it into memory if the platform has no `mmap`. Throws the error of Node or of the system. */
export function mapFile(path: string): MappedFile {
  const fd = openRegular(path);
  try {
    const byteLength = fstatSync(fd).size;
    // Windows has no mmap, and mmap refuses an empty range.
    const canMap = process.platform !== 'win32' && byteLength > 0;
    return new MappedFile(canMap ? mapWhole(fd, byteLength, path) : readWhole(fd, byteLength));
  } finally {
    closeSync(fd); // the mapping outlives the descriptor
  }
}

function mapWhole(fd: number, byteLength: number, path: string): Memory {
  const address = libc('mmap', null, byteLength, PROT_READ, MAP_PRIVATE, fd, 0) as bigint;
  if (address === MAP_FAILED) {
    const reason = getSystemErrorMap().get(-lastErrno())?.join(': ') ?? 'unknown reason';
    throw new Error(`${path}: cannot be mapped (${reason})`);
  }
  const handle = new Handle('mapping', address, {
    free: (pointer) => libc('munmap', pointer, byteLength),
  });
  // Only the garbage collector unmaps it, so a wrong user count cannot.
  const owner = {};
  releaseWhenCollected(owner, handle);
  return { owner, address, byteLength };
}

function readWhole(fd: number, byteLength: number): Memory {
  const buffer = new ArrayBuffer(byteLength);
  // One read returns at most 2 GiB.
  for (let done = 0; done < byteLength; ) {
    const chunk = new Uint8Array(buffer, done, Math.min(byteLength - done, 1 << 30));
    const count = readSync(fd, chunk);
    if (count === 0) throw new Error('the file became shorter while it was read');
    done += count;
  }
  return { owner: buffer, address: addressOf(buffer), byteLength, buffer };
}
