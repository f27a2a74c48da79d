// Calls functions of shared libraries: addresses, signatures and threads. This is the only file that imports koffi.
import koffi, { type LibraryHandle } from 'koffi';
import { assert } from '../common/assert.ts';

/** The type of a C parameter. `path` is a string in the platform's character type. */
export type CType = 'pointer' | 'string' | 'strings' | 'path' | 'int' | 'uint32' | 'size' | 'int64';
/** A C argument. An array is passed as the address of its bytes, which the callee may write. */
export type CValue =
  | bigint
  | number
  | string
  | readonly string[]
  | null
  | Uint8Array
  | BigInt64Array
  | BigUint64Array;

/** A C function. `sync` blocks the calling thread; `async` runs on a thread of libuv's pool. */
export interface NativeFunction {
  sync(...args: CValue[]): CValue;
  async(...args: CValue[]): Promise<CValue>;
}

/**
 * koffi runs C code on a separate stack, by default 128 KiB for asynchronous calls. That is too small for the recursion of the
 * graph optimizer. This is the stack size of a Linux thread; unused pages take no memory.
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

/** Keeps libraries loaded: collecting a handle would unload its library while its functions are in use. */
const loadedLibraries: LibraryHandle[] = [];

/** Loads a shared library for the life of the process. Null is the process itself, including the C library. */
export function loadLibrary(path: string | null): LibraryHandle {
  const library = koffi.load(path);
  loadedLibraries.push(library);
  return library;
}

/** Returns a library's function by name. */
export function functionOf(
  library: LibraryHandle,
  name: string,
  args: readonly CType[],
  result: CType,
): NativeFunction {
  return wrap(library.func(name, C_NAMES[result], args.map(cName)));
}

/** Returns the function at an address, for example from a table of function pointers. */
export function functionAt(
  address: bigint,
  args: readonly CType[],
  result: CType | 'void',
): NativeFunction {
  const prototype = koffi.proto(result === 'void' ? 'void' : C_NAMES[result], args.map(cName));
  return wrap(koffi.decode(address, prototype));
}

/** Returns the address of a buffer's bytes. They never move, unlike the bytes of a small typed array. */
export function addressOf(buffer: ArrayBuffer): bigint {
  return koffi.address(buffer);
}

/** Reads the pointer at an address, or entry `index` of a table of pointers. */
export function pointerAt(address: bigint, index = 0): bigint {
  return koffi.decode(address, index * 8, 'void *');
}

/** Reads a zero-terminated UTF-8 string. */
export function stringAt(address: bigint): string {
  return koffi.decode.string(address);
}

/** The `errno` of the last synchronous call. */
export function lastErrno(): number {
  return koffi.errno();
}

function cName(type: CType): string {
  return C_NAMES[type];
}

type Callable = ReturnType<LibraryHandle['func']>;

function wrap(callable: Callable): NativeFunction {
  assert(typeof callable === 'function', 'koffi returns a function');
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
