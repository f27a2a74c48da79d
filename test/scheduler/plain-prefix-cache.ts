// A prefix cache for engines without a model, whose slots hold tokens. It keeps whole sequences and compares their tokens
// one by one.
import { BLOCK_TOKENS, type PrefixEvent } from '../../src/contracts/engine.ts';
import type { SlotId } from '../../src/engine/batch.ts';
import { blockKey, type PrefixChain, rootKey } from '../../src/engine/prefix/prefix-cache.ts';
import type { StepPrefixes } from '../../src/scheduler/options.ts';

export class PlainPrefixCache implements StepPrefixes {
  /** False: nothing is kept, as in a cache that is too small. */
  keeps = true;
  /** The lengths of the prefixes that were restored. */
  readonly restored: number[] = [];
  /** What `takeEvents` returns next. */
  readonly events: PrefixEvent[] = [];
  readonly #slots: number[][];
  #saved: { readonly root: string; readonly tokenIds: readonly number[] }[] = [];

  /** The tokens in each slot. */
  constructor(slots: number[][]) {
    this.#slots = slots;
  }

  chainOf(
    { adapter, scope, adapterFrom = 0 }: Parameters<StepPrefixes['chainOf']>[0],
    promptIds: readonly number[],
  ): PrefixChain {
    const root = rootKey({ served: 'fake', adapter: adapter?.parts ?? [], scope });
    const keys: string[] = [];
    for (let start = 0; start + BLOCK_TOKENS <= promptIds.length; start += BLOCK_TOKENS) {
      keys.push(blockKey(keys.at(-1) ?? root, promptIds.slice(start, start + BLOCK_TOKENS)));
    }
    return { promptIds, root, baseRoot: root, adapterFrom, keys };
  }

  cachedTokens({ root, promptIds }: PrefixChain): number {
    const lengths = this.#saved
      .filter((saved) => saved.root === root)
      .map(({ tokenIds }) => {
        const end = tokenIds.findIndex((id, i) => id !== promptIds[i]);
        const common = Math.min(end < 0 ? tokenIds.length : end, promptIds.length - 1);
        return common - (common % BLOCK_TOKENS);
      });
    return Math.max(0, ...lengths);
  }

  restore(chain: PrefixChain, length: number, slot: SlotId): void {
    if (this.cachedTokens(chain) < length) throw new Error('it is not cached');
    this.#slots[slot] = chain.promptIds.slice(0, length);
    this.restored.push(length);
  }

  /** Throws if the slot does not hold the tokens. */
  save({ root }: PrefixChain, tokenIds: readonly number[], slot: SlotId): void {
    const held = this.#slots[slot]!.slice(0, tokenIds.length);
    if (held.join() !== tokenIds.join()) throw new Error(`slot ${slot} holds ${held}`);
    if (this.keeps) this.#saved.push({ root, tokenIds: [...tokenIds] });
  }

  forget({ root }: PrefixChain): void {
    this.#saved = this.#saved.filter((saved) => saved.root !== root);
  }

  takeEvents(): PrefixEvent[] {
    return this.events.splice(0);
  }

  stats() {
    return { bytes: this.#saved.length, capacityBytes: 1000, capacityBlocks: 10, evictions: 0 };
  }
}
