// The library of our own operators, which is built from `native/` and part of the package. It exists for Linux on x64 only.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { functionOf, loadLibrary, stringAt } from './ffi.ts';

/** The library's path. The file need not exist. */
export const OPERATORS_FILE = fileURLToPath(
  import.meta.resolve(`#native/lorikeet-${process.platform}-${process.arch}.so`),
);

let described: { readonly instructions: string | undefined } | undefined;

/**
 * Returns the instruction set that our operators use on this CPU, such as `avx512-vnni`. Undefined if they cannot run here: the
 * library is missing, cannot be loaded, or needs a newer CPU.
 */
export function ownInstructions(): string | undefined {
  described ??= { instructions: loadInstructions() };
  return described.instructions;
}

function loadInstructions(): string | undefined {
  if (!existsSync(OPERATORS_FILE)) return undefined;
  try {
    const library = loadLibrary(OPERATORS_FILE);
    const address = functionOf(library, 'lorikeet_instructions', [], 'pointer').sync();
    return address ? stringAt(address as bigint) : undefined;
  } catch {
    return undefined; // built for another C library
  }
}
