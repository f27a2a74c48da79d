// Calls into shared libraries: the one importer of koffi. Knows addresses, signatures and threads; knows
// nothing of ONNX Runtime.
import koffi, { type LibraryHandle } from 'koffi';
import { assert } from '../common/assert.ts';

/** A parameter of a C function. `path` is a string in the platform's own character type. */
export type CType = 'pointer' | 'string' | 'strings' | 'path' | 'int' | 'uint32' | 'size' | 'int64';
/** Arrays go as the address of their bytes, which the callee may write. */
export type CValue =
  | bigint
  | number
  | string
  | readonly string[]
  | null
  | Uint8Array
  | BigInt64Array
  | BigUint64Array;

/** A C function: `sync` blocks the thread, `async` runs it on a thread of libuv's pool. */
export interface NativeFunction {
  sync(...args: CValue[]): CValue;
  async(...args: CValue[]): Promise<CValue>;
}

/**
 * koffi runs C code on a stack of its own, by default 128 KiB for asynchronous calls: too small for the graph
 * optimizer's recursion. Pages are only touched when used; this is what Linux gives a thread.
 */
const STACK_BYTES = 8 << 20;
koffi.config({ sync_stack_size: STACK_BYTES, async_stack_size: STACK_BYTES });

const C_NAMES: Record<CType, string> = {
  pointer: 'void *',
  string: 'str',
  strings: 'const char **',
  path: process.platform === 'win32' ? 'str16' : 'str',
  int: 'int',
  uint32: 'uint32_t',
  size: 'size_t',
  int64: 'int64_t',
};

/** A handle that is collected unloads its library under the feet of every function taken from it. */
const loadedLibraries: LibraryHandle[] = [];

/** Loads a shared library for the life of the process; null is the process itself, C library included. */
export function loadLibrary(path: string | null): LibraryHandle {
  const library = koffi.load(path);
  loadedLibraries.push(library);
  return library;
}

export function functionOf(
  library: LibraryHandle,
  name: string,
  args: readonly CType[],
  result: CType,
): NativeFunction {
  return wrap(library.func(name, C_NAMES[result], args.map(cName)));
}

/** The function behind an address, e.g. of a table of function pointers. */
export function functionAt(
  address: bigint,
  args: readonly CType[],
  result: CType | 'void',
): NativeFunction {
  const prototype = koffi.proto(result === 'void' ? 'void' : C_NAMES[result], args.map(cName));
  return wrap(koffi.decode(address, prototype));
}

/** Where a buffer's bytes lie. An ArrayBuffer's bytes never move, unlike those of a small typed array. */
export function addressOf(buffer: ArrayBuffer): bigint {
  return koffi.address(buffer);
}

/** Reads a pointer, or a table's entry: the pointer at `index`. */
export function pointerAt(address: bigint, index = 0): bigint {
  return koffi.decode(address, index * 8, 'void *');
}

/** Reads a zero-terminated UTF-8 string. */
export function stringAt(address: bigint): string {
  return koffi.decode.string(address);
}

/** The C library's `errno` of the last synchronous call. */
export function lastErrno(): number {
  return koffi.errno();
}

function cName(type: CType): string {
  return C_NAMES[type];
}

type Callable = ReturnType<LibraryHandle['func']>;

function wrap(callable: Callable): NativeFunction {
  assert(typeof callable === 'function', 'koffi gives a function');
  return {
    sync: callable,
    async: (...args) =>
      new Promise((resolve, reject) => {
        callable.async(...args, (error: unknown, result: CValue) => {
          if (error) reject(error);
          else resolve(result);
        });
      }),
  };
}
