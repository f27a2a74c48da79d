// How the C library hands out memory to native code. Knows glibc's setting; elsewhere there is none.
import { functionOf, loadLibrary } from './ffi.ts';

/** `M_MMAP_THRESHOLD` of malloc.h */
const MMAP_THRESHOLD = -3;
/** Weights of one matrix are more; what one step needs is less, or stays in the runtime's arena. */
const LARGE_BLOCK_BYTES = 1 << 20;

/**
 * From now on each large block of this process has pages of its own: they go back to the system when it is freed, and
 * begin as zeros. (By default glibc raises the limit with every large block that is freed, up to 32 MiB. Then a session
 * leaves the copies of weights that it made while it was created in the heap; and what is packed into used memory is
 * garbage between its rows, by which ONNX Runtime does not recognize what another session has packed already.)
 */
export function separateLargeBlocks(): void {
  try {
    const mallopt = functionOf(loadLibrary(null), 'mallopt', ['int', 'int'], 'int');
    mallopt.sync(MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
  } catch {
    // another C library
  }
}
