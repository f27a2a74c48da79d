// The keys of blocks of tokens in the prefix cache: a chain of digests. A key covers everything that keys and values
// depend on: the served base, the adapter's content, the scope, the block's tokens and all tokens before them.
import { createHash } from 'node:crypto';
import type { AdapterSourcePart } from '../../contracts/generation.ts';

/** Everything except tokens that keys and values depend on. */
export interface PrefixRoot {
  /** The base, the form of its weights and the type of the cache. */
  readonly served: string;
  /** The parts of the adapter with their factors; none for the base. */
  readonly adapter: readonly Pick<AdapterSourcePart, 'digest' | 'weight'>[];
  /** Sequences of different scopes share nothing. */
  readonly scope: string;
}

/** Returns the key before the first block. */
export function rootKey({ served, adapter, scope }: PrefixRoot): string {
  const parts = adapter.flatMap(({ digest, weight }) => [digest, String(weight)]);
  const hash = createHash('sha256');
  // The length before each field keeps "ab", "c" apart from "a", "bc".
  for (const field of ['root', served, scope, ...parts]) {
    hash.update(`${Buffer.byteLength(field)}:${field}`);
  }
  return hash.digest('base64url');
}

/** Returns the key of a block that follows the block with key `before`. */
export function blockKey(before: string, tokenIds: readonly number[]): string {
  const hash = createHash('sha256');
  hash.update(`block:${before}`);
  return hash.update(Int32Array.from(tokenIds)).digest('base64url');
}
