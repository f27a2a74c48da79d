// The functions of the C library that we call: mmap, munmap, madvise, mallopt and sched_setscheduler.
import { getSystemErrorMap } from 'node:util';
import { functionOf, lastErrno, loadLibrary, type NativeFunction } from './ffi.ts';

/** The same values on Linux and macOS. */
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;
const MADV_DONTNEED = 4;

/** Whether this platform has `mmap`. */
export const CAN_MAP = process.platform !== 'win32';

/** Maps a file read-only and returns the address. Throws if the system refuses. `path` is for the message. */
export function mapPages(fd: number, byteLength: number, path: string): bigint {
  const address = libc().mmap.sync(null, byteLength, PROT_READ, MAP_PRIVATE, fd, 0) as bigint;
  if (address !== MAP_FAILED) return address;
  const reason = getSystemErrorMap().get(-lastErrno())?.join(': ') ?? 'unknown reason';
  throw new Error(`${path}: cannot be mapped (${reason})`);
}

/** Ends a mapping. */
export function unmapPages(address: bigint, byteLength: number): void {
  libc().munmap.sync(address, byteLength);
}

/**
 * Frees the memory of mapped pages that were never written. The next access reads them again. If the system refuses, nothing
 * changes.
 */
export function dropPages(address: bigint, byteLength: number): void {
  libc().madvise.sync(address, byteLength, MADV_DONTNEED);
}

let functions: Record<'mmap' | 'munmap' | 'madvise', NativeFunction> | undefined;

function libc() {
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

/** A scheduling class of Linux. Its threads run only on cores that no other thread wants. */
const SCHED_IDLE = 5;
/** `struct sched_param`: a priority, always 0 in this class. */
const SCHED_PARAM = new Uint8Array(4);

/** Moves a thread of this process to Linux's idle scheduling class. Does nothing if the system refuses. */
export function scheduleWhenIdle(threadId: number): void {
  setScheduler ??= functionOf(
    loadLibrary(null),
    'sched_setscheduler',
    ['int', 'int', 'pointer'],
    'int',
  );
  setScheduler.sync(threadId, SCHED_IDLE, SCHED_PARAM);
}

let setScheduler: NativeFunction | undefined;

/** `M_MMAP_THRESHOLD` of malloc.h */
const MMAP_THRESHOLD = -3;
/** The weights of a matrix are larger than this. The memory of a step is smaller, or stays in the runtime's arena. */
const LARGE_BLOCK_BYTES = 1 << 20;

/**
 * From now on, makes malloc put each large block on separate pages, which start as zeros and go back to the system when the
 * block is freed. By default glibc raises its threshold, up to 32 MiB, with every large block that is freed. Copies of weights
 * made while a session is created then stay in the heap. Weights packed into used memory also have garbage between their rows,
 * so ONNX Runtime does not recognize that another session has packed the same weights. Has no effect with other C libraries.
 */
export function separateLargeBlocks(): void {
  try {
    const mallopt = functionOf(loadLibrary(null), 'mallopt', ['int', 'int'], 'int');
    mallopt.sync(MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
  } catch {
    // only glibc has mallopt
  }
}
