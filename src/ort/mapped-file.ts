// A file's bytes as memory of tensors, read-only and without a copy. Knows the C library's `mmap`; knows nothing
// of the file's format.
import { closeSync, fstatSync, readSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { assert } from '../common/assert.ts';
import { openRegular } from '../common/regular-file.ts';
import { addressOf, functionOf, lastErrno, loadLibrary, type NativeFunction } from './ffi.ts';
import { Handle, releaseWhenForgotten } from './handle.ts';
import { type Memory, type OrtTensor, type OrtType, tensorOver } from './tensor.ts';

/**
 * The pages of a file. They stay mapped while the file or anything made from it is referenced: tensors, and the
 * bindings and sessions that use them. The file must not be truncated meanwhile: touching a lost page ends the
 * process; replace such a file by renaming.
 */
export class MappedFile {
  readonly byteLength: number;
  #memory: Memory | undefined;

  /** For `mapFile`. */
  constructor(memory: Memory) {
    this.byteLength = memory.byteLength;
    this.#memory = memory;
  }

  /**
   * A read-only tensor right over the file's bytes: for inputs and initializers; it has no `data`. Asserts that it
   * lies inside the file, aligned to its elements.
   */
  tensor<T extends OrtType>(type: T, shape: readonly number[], byteOffset: number): OrtTensor<T> {
    assert(this.#memory, 'mapped file was released');
    return tensorOver(type, shape, { memory: this.#memory, byteOffset });
  }

  /**
   * Takes the pages out of this process's memory; the next use brings a page back, from the system's cache as a rule.
   * Does nothing where the file was read instead of mapped.
   */
  letGo(): void {
    if (this.#memory && !this.#memory.buffer) letGoOfPages(this.#memory);
  }

  /** Ends its use for new tensors; the others keep the pages. A second time does nothing. */
  release(): void {
    this.#memory = undefined;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Maps a file, or reads it whole where there is no `mmap`. Throws Node's or the system's error. */
export function mapFile(path: string): MappedFile {
  const fd = openRegular(path);
  try {
    const byteLength = fstatSync(fd).size;
    const canMap = process.platform !== 'win32' && byteLength > 0; // mmap refuses an empty range
    return new MappedFile(canMap ? mapPages(fd, byteLength, path) : readWhole(fd, byteLength));
  } finally {
    closeSync(fd); // the mapping outlives the descriptor
  }
}

/** The same values on Linux and macOS. */
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;
const MADV_DONTNEED = 4;

function mapPages(fd: number, byteLength: number, path: string): Memory {
  const { mmap, munmap } = libc();
  const address = mmap.sync(null, byteLength, PROT_READ, MAP_PRIVATE, fd, 0) as bigint;
  if (address === MAP_FAILED) {
    const reason = getSystemErrorMap().get(-lastErrno())?.join(': ') ?? 'unknown reason';
    throw new Error(`${path}: cannot be mapped (${reason})`);
  }
  const handle = new Handle('mapping', address, {
    free: (pointer) => munmap.sync(pointer, byteLength),
  });
  // Unmapped by the collector alone: no count of users can be wrong.
  const owner = {};
  releaseWhenForgotten(owner, handle);
  return { owner, address, byteLength };
}

/** A private mapping that nobody wrote to loses nothing by it. A refusal leaves the pages where they are. */
function letGoOfPages({ address, byteLength }: Memory): void {
  libc().madvise.sync(address, byteLength, MADV_DONTNEED);
}

type LibC = Record<'mmap' | 'munmap' | 'madvise', NativeFunction>;

let functions: LibC | undefined;

function libc(): LibC {
  if (!functions) {
    const library = loadLibrary(null);
    const mapArgs = ['pointer', 'size', 'int', 'int', 'int', 'int64'] as const;
    functions = {
      mmap: functionOf(library, 'mmap', mapArgs, 'pointer'),
      munmap: functionOf(library, 'munmap', ['pointer', 'size'], 'int'),
      madvise: functionOf(library, 'madvise', ['pointer', 'size', 'int'], 'int'),
    };
  }
  return functions;
}

function readWhole(fd: number, byteLength: number): Memory {
  const buffer = new ArrayBuffer(byteLength);
  // In chunks: one read takes 2 GiB at most.
  for (let done = 0; done < byteLength; ) {
    const chunk = new Uint8Array(buffer, done, Math.min(byteLength - done, 1 << 30));
    const count = readSync(fd, chunk);
    if (count === 0) throw new Error('the file became shorter while it was read');
    done += count;
  }
  return { owner: buffer, address: addressOf(buffer), byteLength, buffer };
}
