// Byte-pair merging of one pre-token, in O(n log n) with a small constant, because 1 MiB of text can be one pre-token. Works on
// texts, not ids: a character in no merge stays a character.

/** Merges the characters of a pre-token into tokens. */
export type MergeTokens = (preToken: string) => readonly string[];

/** The cache's size in words, and the length above which words are unlikely to repeat. */
const CACHED_WORDS = 20_000;
const MAX_CACHED_LENGTH = 64;

/** A pair of symbols is stored as one number: two of 2^26 symbols fit in a safe integer. */
const SYMBOL_LIMIT = 2 ** 26;
/** A heap entry is rank · 2^26 + position, which sorts by rank, then from left to right. */
const POSITION_LIMIT = 2 ** 26;

/**
 * Creates a function that merges pre-tokens. `merges` is ordered by priority, as pairs or as text with one space. Characters
 * that `isKept` rejects are removed first, so their neighbors may merge.
 */
export function createMergeTokens(
  merges: readonly (string | readonly [string, string])[],
  isKept: (character: string) => boolean,
): MergeTokens {
  const table = new MergeTable(merges);
  const cache = new Map<string, readonly string[]>();
  return (preToken) => {
    const cached = cache.get(preToken);
    if (cached) return cached;
    const tokens = table.merge(Array.from(preToken).filter(isKept));
    if (preToken.length <= MAX_CACHED_LENGTH) {
      if (cache.size >= CACHED_WORDS) cache.clear();
      cache.set(preToken, tokens);
    }
    return tokens;
  };
}

class MergeTable {
  /** Symbol ↔ text. */
  readonly #symbols = new Map<string, number>();
  readonly #texts: string[] = [];
  /** left · SYMBOL_LIMIT + right → rank; rank → merged symbol. */
  readonly #ranks = new Map<number, number>();
  readonly #merged: number[] = [];

  constructor(merges: readonly (string | readonly [string, string])[]) {
    for (const [rank, merge] of merges.entries()) {
      const [left = '', right = ''] = typeof merge === 'string' ? merge.split(' ', 2) : merge;
      this.#merged.push(this.#intern(left + right));
      this.#ranks.set(this.#intern(left) * SYMBOL_LIMIT + this.#intern(right), rank);
    }
  }

  merge(characters: string[]): string[] {
    const count = characters.length;
    if (count < 2) return characters;
    // A linked list of the characters. A merge keeps the left position and unlinks the right one.
    const symbols = Int32Array.from(characters, (character) => this.#symbols.get(character) ?? -1);
    const next = Int32Array.from(characters, (_, i) => i + 1); // `count`: end of the list
    const previous = Int32Array.from(characters, (_, i) => i - 1);
    const heap = new MinHeap();
    const offer = (at: number) => {
      const rank = this.#rankAt(symbols, at, next[at]!);
      if (rank !== undefined) heap.push(rank * POSITION_LIMIT + at);
    };
    for (let at = 0; at < count - 1; at++) offer(at);
    for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
      const at = entry % POSITION_LIMIT;
      const rank = (entry - at) / POSITION_LIMIT;
      const right = next[at]!;
      if (this.#rankAt(symbols, at, right) !== rank) continue; // invalidated by another merge
      symbols[at] = this.#merged[rank]!;
      symbols[right] = UNLINKED;
      next[at] = next[right]!;
      if (next[at]! < count) previous[next[at]!] = at;
      if (previous[at]! >= 0) offer(previous[at]!);
      offer(at);
    }
    const tokens: string[] = [];
    for (let at = 0; at < count; at = next[at]!) {
      tokens.push(symbols[at]! < 0 ? characters[at]! : this.#texts[symbols[at]!]!);
    }
    return tokens;
  }

  #rankAt(symbols: Int32Array, left: number, right: number): number | undefined {
    if (right >= symbols.length || symbols[left]! < 0 || symbols[right]! < 0) return undefined;
    return this.#ranks.get(symbols[left]! * SYMBOL_LIMIT + symbols[right]!);
  }

  #intern(text: string): number {
    const symbol = this.#symbols.get(text);
    if (symbol !== undefined) return symbol;
    this.#symbols.set(text, this.#texts.length);
    return this.#texts.push(text) - 1;
  }
}

const UNLINKED = -1;

/** A binary heap of numbers, smallest first. */
class MinHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (items[parent]! <= item) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return first;
    let at = 0;
    for (let child = 1; child < items.length; child = 2 * at + 1) {
      if (child + 1 < items.length && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= last) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = last;
    return first;
  }
}
