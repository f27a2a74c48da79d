// The library of our own operators, which is built from `native/` and part of the package. It exists for Linux on x64 only.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { assert } from '../common/assert.ts';
import { addressOf, functionOf, loadLibrary, type NativeFunction, stringAt } from './ffi.ts';

/** The library's path. The file need not exist. */
export const OPERATORS_FILE = fileURLToPath(
  import.meta.resolve(`#native/lorikeet-${process.platform}-${process.arch}.so`),
);

/** The library as this CPU can use it. */
interface OwnLibrary {
  readonly instructions: string;
  readonly roundUpdates: NativeFunction;
  readonly roundBlocks: NativeFunction;
}

let loaded: { readonly library: OwnLibrary | undefined } | undefined;

/**
 * Returns the instruction set that our operators use on this CPU, such as `avx512-vnni`. Undefined if they cannot run here: the
 * library is missing, cannot be loaded, or needs a newer CPU.
 */
export function ownInstructions(): string | undefined {
  return ownLibrary()?.instructions;
}

/** A LoRA update x A B and what it is rounded to: 8 bits, with one scale per rank row. What is absent is not written. */
export interface RoundedUpdate {
  /** [in, rank] and [rank, out], row-major. Sizes are multiples of 16. */
  readonly pair: { readonly rank: number; readonly a: Float32Array; readonly b: Float32Array };
  /** The rank rows of a slot, at least the pair's. */
  readonly ranks: number;
  /** [rank, in] */
  readonly codesA?: Int8Array;
  /** [rank]: the scales of A times the scales of B. A rank row that changes nothing has the scale 0. */
  readonly scales?: Float32Array;
  /** [out / 16, ranks, 16] */
  readonly codesB?: Int8Array;
}

/** Rounds updates as our operators read them. The operators can run here. */
export function roundUpdates(updates: readonly RoundedUpdate[]): void {
  const library = ownLibrary();
  assert(library, 'the library is loaded');
  const fields = updates.flatMap(({ pair: { rank, a, b }, ranks, codesA, scales, codesB }) => [
    ...[rank, ranks, a.length / rank, b.length / rank].map(BigInt),
    ...[a, b, codesA, scales, codesB].map(addressIn),
  ]);
  const isDone = library.roundUpdates.sync(BigInt64Array.from(fields), updates.length);
  if (!isDone) throw new RangeError('no memory to round an adapter');
}

/**
 * Rounds values [blocks * 16, inputs] to 4-bit weights, on a thread of libuv's pool: `records` [blocks, inputs / 32, 320]. The
 * operators can run here.
 */
export async function roundBlocks(
  values: Float32Array,
  inputs: number,
  records: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const library = ownLibrary();
  assert(library, 'the library is loaded');
  const blocks = values.length / inputs / 16;
  assert(records.length * 32 * 16 === blocks * 16 * inputs * 320, 'roundBlocks: whole records');
  await library.roundBlocks.async(addressIn(values), blocks, inputs, addressIn(records));
}

function addressIn(values: ArrayBufferView | undefined): bigint {
  return values ? addressOf(values.buffer as ArrayBuffer) + BigInt(values.byteOffset) : 0n;
}

function ownLibrary(): OwnLibrary | undefined {
  loaded ??= { library: load() };
  return loaded.library;
}

function load(): OwnLibrary | undefined {
  if (!existsSync(OPERATORS_FILE)) return undefined;
  try {
    const library = loadLibrary(OPERATORS_FILE);
    const address = functionOf(library, 'lorikeet_instructions', [], 'pointer').sync();
    if (!address) return undefined;
    const args = ['pointer', 'size'] as const;
    const roundUpdates = functionOf(library, 'lorikeet_round_updates', args, 'int');
    const sizes = ['pointer', 'size', 'size', 'pointer'] as const;
    const roundBlocks = functionOf(library, 'lorikeet_round_blocks', sizes, 'int');
    return { instructions: stringAt(address as bigint), roundUpdates, roundBlocks };
  } catch {
    return undefined; // built for another C library
  }
}
