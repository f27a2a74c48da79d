// How long runs of the engine have taken on this machine, by the size of their batch. Knows no clock.
import type { Batch } from '../engine/batch.ts';
import type { RunSize } from './protocol.ts';

/** Returns the size of a batch. A row that decodes grows by a token per step, so its size changes rarely. */
export function sizeOf(batch: Batch): RunSize {
  const rows =
    batch.kind === 'prefill'
      ? [{ ...batch, count: batch.tokenIds.length + (batch.forcedIds?.length ?? 0) }]
      : batch.rows.map((row) => ({
          ...row,
          count: 1 + (row.draftIds?.length ?? 0) + (row.forcedIds?.length ?? 0),
        }));
  const sum = (of: (row: (typeof rows)[number]) => number) =>
    roundUp(rows.reduce((total, row) => total + of(row), 0));
  return {
    tokens: sum(({ count }) => count),
    keys: sum(({ count, pastLength }) => count * (pastLength + count)),
  };
}

function roundUp(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}

/** The longest run of each size. */
export class RunTimes {
  readonly #longest = new Map<string, { readonly size: RunSize; readonly ms: number }>();

  record(size: RunSize, ms: number): void {
    const key = keyOf(size);
    if (ms > (this.#longest.get(key)?.ms ?? 0)) this.#longest.set(key, { size, ms });
  }

  /**
   * Returns the longest time in ms of a run of this size. If there was none, it is derived from the others: a run takes
   * at most as many times longer as it has more tokens or keys, whichever is the larger factor, and counts as `maxDerivedMs` at
   * most. Undefined before the first run.
   */
  longestMs(size: RunSize, maxDerivedMs: number): number | undefined {
    const own = this.#longest.get(keyOf(size));
    if (own) return own.ms;
    const bounds = [...this.#longest.values()].map(({ size: { tokens, keys }, ms }) => {
      return ms * Math.max(1, size.tokens / tokens, size.keys / keys);
    });
    return bounds.length > 0 ? Math.min(...bounds, maxDerivedMs) : undefined;
  }
}

function keyOf({ tokens, keys }: RunSize): string {
  return `${tokens} ${keys}`;
}
