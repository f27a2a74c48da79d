// The functions of the C library that we call.
import {
  addressOf,
  type CType,
  type CValue,
  functionOf,
  loadLibrary,
  type NativeFunction,
} from './ffi.ts';

/** The parameters and the result of each function. */
const SIGNATURES = {
  mmap: [['pointer', 'size', 'int', 'int', 'int', 'int64'], 'pointer'],
  munmap: [['pointer', 'size'], 'int'],
  madvise: [['pointer', 'size', 'int'], 'int'],
  mallopt: [['int', 'int'], 'int'],
  sched_setscheduler: [['int', 'int', 'pointer'], 'int'],
} as const satisfies Record<string, readonly [readonly CType[], CType]>;

const functions = new Map<string, NativeFunction>();

/** Calls a function of the C library. Throws if the library lacks it. */
export function libc(name: keyof typeof SIGNATURES, ...args: CValue[]): CValue {
  return find(name).sync(...args);
}

function find(name: keyof typeof SIGNATURES): NativeFunction {
  const [parameters, result] = SIGNATURES[name];
  const callee = functions.get(name) ?? functionOf(loadLibrary(null), name, parameters, result);
  functions.set(name, callee);
  return callee;
}

/** `MADV_POPULATE_WRITE` of Linux 5.14 */
const POPULATE_WRITE = 23;
/** A multiple of every page size of Linux. */
const LARGEST_PAGE_BYTES = 1 << 16;

/**
 * Gives a part of new memory its pages, on another thread. Otherwise the first write to each page does so, and takes longer.
 * Does nothing on other systems.
 */
export async function populatePages(
  buffer: ArrayBuffer,
  start: number,
  byteLength: number,
): Promise<void> {
  if (process.platform !== 'linux') return;
  const misplaced = Number(addressOf(buffer) % BigInt(LARGEST_PAGE_BYTES));
  const toPage = (offset: number) =>
    Math.ceil((offset + misplaced) / LARGEST_PAGE_BYTES) * LARGEST_PAGE_BYTES - misplaced;
  const from = toPage(start);
  const end = toPage(start + byteLength) - LARGEST_PAGE_BYTES;
  if (from >= end) return;
  await find('madvise').async(addressOf(buffer) + BigInt(from), end - from, POPULATE_WRITE);
}

/** A scheduling class of Linux. Its threads run only on cores that no other thread wants. */
const SCHED_IDLE = 5;
/** `struct sched_param`: a priority, always 0 in this class. */
const SCHED_PARAM = new Uint8Array(4);

/** Moves a thread of this process to Linux's idle scheduling class. Does nothing if the system refuses. */
export function scheduleWhenIdle(threadId: number): void {
  libc('sched_setscheduler', threadId, SCHED_IDLE, SCHED_PARAM);
}

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
    libc('mallopt', MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
  } catch {
    // only glibc has mallopt
  }
}
