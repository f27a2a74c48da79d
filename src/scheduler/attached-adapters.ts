// Tracks which adapters are in the engine's slots, as the scheduler plans them. Runs nothing.
import type { AdapterKey } from '../engine/batch.ts';
import type { Sequence } from './sequence.ts';

/** Adapters stay attached until a step leaves them out, because the next request may use them. */
export class AttachedAdapters {
  readonly #keys = new Set<AdapterKey>();

  has(adapter: AdapterKey): boolean {
    return this.#keys.has(adapter);
  }

  keys(): AdapterKey[] {
    return [...this.#keys];
  }

  /** Removes and returns the adapters that none of these sequences use. */
  detachUnused(sequences: readonly Pick<Sequence, 'adapter'>[]): AdapterKey[] {
    const used = new Set(sequences.map(({ adapter }) => adapter));
    const unused = [...this.#keys].filter((key) => !used.has(key));
    for (const key of unused) this.#keys.delete(key);
    return unused;
  }

  /** Returns the adapter if it still has to be attached. */
  attach(adapter: AdapterKey | undefined): AdapterKey | undefined {
    if (adapter === undefined || this.#keys.has(adapter)) return undefined;
    this.#keys.add(adapter);
    return adapter;
  }

  delete(adapter: AdapterKey): void {
    this.#keys.delete(adapter);
  }
}
