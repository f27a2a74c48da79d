// The plain twin of the prefix cache: it keeps whole sequences of tokens by everything that their values depend on, and
// never evicts one.
import type { PrefixRoot } from '../../../src/engine/prefix/prefix-cache.ts';

export class PlainPrefixes {
  readonly #blockTokens: number;
  readonly #saved = new Map<string, readonly number[][]>();

  constructor(blockTokens: number) {
    this.#blockTokens = blockTokens;
  }

  save(root: PrefixRoot, tokenIds: readonly number[]): void {
    const id = JSON.stringify(root);
    this.#saved.set(id, [...(this.#saved.get(id) ?? []), [...tokenIds]]);
  }

  /** The longest saved beginning, in whole blocks, without the last token. It leaves no single token. */
  cachedTokens(root: PrefixRoot, promptIds: readonly number[]): number {
    const saved = this.#saved.get(JSON.stringify(root)) ?? [];
    const lengths = saved.map((other) => {
      let length = 0;
      while (length < other.length && other[length] === promptIds[length]) length++;
      return Math.min(length, promptIds.length - 1);
    });
    const length = this.#wholeBlocks(Math.max(0, ...lengths));
    return promptIds.length - length === 1 ? Math.max(0, length - this.#blockTokens) : length;
  }

  #wholeBlocks(tokens: number): number {
    return tokens - (tokens % this.#blockTokens);
  }
}
