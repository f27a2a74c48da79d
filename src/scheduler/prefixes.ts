// How sequences use the prefix cache, as pure policy: which prefixes are copied into a slot, which sequences wait for another
// one's prefill, and what is kept. The engine owns the cache itself.
import { BLOCK_TOKENS } from '../contracts/engine.ts';
import type { SlotId } from '../engine/batch.ts';
import type { PrefixChain } from '../engine/prefix/prefix-cache.ts';
import type { Sequence } from './sequence.ts';

/**
 * A sequence waits for another one's prefill if that saves it this many tokens. Waiting costs it at most a step, and a step
 * with a few running rows takes as long as prefilling this many tokens.
 */
const MIN_SHARED_TOKENS = 64;

/** Copying a token costs a small part of computing it, but a step that copies thousands of them would be long. */
const COPIES_PER_COMPUTED_TOKEN = 32;

/** A change of the prefix cache before the next step. */
export type PrefixChange =
  /** Keeps the tokens at the start of a slot. */
  | { type: 'save'; prefix: PrefixChain; tokenIds: readonly number[]; slot: SlotId }
  /** The slot of a sequence was zeroed: everything that may share the fault is removed. */
  | { type: 'forget'; prefix: PrefixChain };

/** Returns how many tokens at the start of a prompt can be copied into a slot. Called often; must be fast. */
export type CountCachedTokens = (prefix: PrefixChain) => number;

/** Decides how one scheduler's sequences use the cache. */
export class Prefixes {
  readonly #countCached: CountCachedTokens;
  #changes: PrefixChange[] = [];
  readonly totals = { prefixQueryTokens: 0, prefixHitTokens: 0 };

  constructor(countCached: CountCachedTokens) {
    this.#countCached = countCached;
  }

  /** Whether a waiting sequence should let another one finish the prefill of their common prefix. */
  shouldWait(sequence: Sequence, prefilling: readonly Sequence[]): boolean {
    const { prefix } = sequence;
    if (!prefix) return false;
    const other = prefilling.find(({ id, prefix: theirs }) => {
      if (!theirs || (sequence.waitedFor ?? id) !== id) return false;
      return shares(prefix, theirs, MIN_SHARED_TOKENS);
    });
    if (!other) return false;
    const cachedTokens = this.#countCached(prefix);
    if (!shares(prefix, other.prefix!, cachedTokens + MIN_SHARED_TOKENS)) return false;
    sequence.waitedFor = other.id;
    return true;
  }

  /**
   * The part of a step's token budget that a prompt's first chunk takes, including the copy before it. At most the whole
   * budget.
   */
  firstChunkCost(sequence: Sequence, budget: number): number {
    const { cachedTokens, computedTokens } = this.#countTokens(sequence);
    return Math.min(computedTokens + copyCost(cachedTokens), budget);
  }

  /** Whether a prompt is prefilled in one chunk, not counting its cached prefix. */
  isOneChunk(sequence: Sequence, chunkTokens: number): boolean {
    return this.#countTokens(sequence).computedTokens <= chunkTokens;
  }

  /** Lets a sequence that gets a slot start after its cached prefix. */
  begin(sequence: Sequence): void {
    const { prefix, request } = sequence;
    if (!prefix) return;
    const cachedTokens = this.#countCached(prefix);
    sequence.pastLength = cachedTokens;
    sequence.cachedTokens = cachedTokens;
    sequence.savedTokens = cachedTokens;
    this.totals.prefixQueryTokens += request.promptIds.length;
    this.totals.prefixHitTokens += cachedTokens;
  }

  /** Keeps the tokens in a sequence's slot if they complete another cached block. */
  keep(sequence: Sequence): void {
    const { prefix, slot, request, generatedIds, pastLength, savedTokens } = sequence;
    // A prompt computes the same tokens in another way than the steps that generated them.
    const length = sequence.isInvariant
      ? Math.min(pastLength, request.promptIds.length)
      : pastLength;
    if (!prefix || slot === undefined || blocksIn(length) <= blocksIn(savedTokens)) return;
    sequence.savedTokens = length;
    const tokenIds = [...request.promptIds, ...generatedIds].slice(0, length);
    this.#changes.push({ type: 'save', prefix, tokenIds, slot });
  }

  /** Removes the cached blocks of a sequence whose slot was zeroed, and caches no more of it. */
  forget(sequence: Sequence): void {
    if (sequence.prefix) this.#changes.push({ type: 'forget', prefix: sequence.prefix });
    sequence.prefix = undefined;
  }

  /** Returns the changes since the last call. */
  takeChanges(): PrefixChange[] {
    return this.#changes.splice(0);
  }

  #countTokens({ prefix, request }: Sequence): { cachedTokens: number; computedTokens: number } {
    const cachedTokens = prefix ? this.#countCached(prefix) : 0;
    return { cachedTokens, computedTokens: request.promptIds.length - cachedTokens };
  }
}

/** The part of a step's token budget that copying a cached prefix takes. */
export function copyCost(cachedTokens: number): number {
  return Math.ceil(cachedTokens / COPIES_PER_COMPUTED_TOKEN);
}

function blocksIn(tokens: number): number {
  return Math.floor(tokens / BLOCK_TOKENS);
}

/** Whether two prompts share a prefix of `tokens` tokens, rounded up to whole blocks. */
function shares(one: PrefixChain, other: PrefixChain, tokens: number): boolean {
  const last = Math.ceil(tokens / BLOCK_TOKENS) - 1;
  const key = one.keys[last];
  return key !== undefined && key === other.keys[last];
}
