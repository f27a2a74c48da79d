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

/** A run counts for as many later runs of its size, and at most for twice as many. A second of decoding has 10 to 100. */
export const RUNS_REMEMBERED = 256;

/** The longest runs of a size in two spans of `RUNS_REMEMBERED`: the present one, and the one before. */
interface Recent {
  readonly size: RunSize;
  readonly ms: number;
  readonly count: number;
  readonly earlierMs: number;
}

/** The longest recent run of each size. A stall, such as of a machine that swaps, does not count for ever. */
export class RunTimes {
  readonly #recent = new Map<string, Recent>();

  record(size: RunSize, ms: number): void {
    const key = keyOf(size);
    const last = this.#recent.get(key) ?? { size, ms: 0, count: 0, earlierMs: 0 };
    const isOver = last.count === RUNS_REMEMBERED;
    const next = isOver
      ? { size, ms, count: 1, earlierMs: last.ms }
      : { ...last, ms: Math.max(last.ms, ms), count: last.count + 1 };
    this.#recent.set(key, next);
  }

  /**
   * Returns the longest time in ms of a recent run of this size. If there was none, it is derived from the others: a run takes
   * at most as many times longer as it has more tokens or keys, whichever is the larger factor, and counts as `maxDerivedMs` at
   * most. Undefined before the first run.
   */
  longestMs(size: RunSize, maxDerivedMs: number): number | undefined {
    const own = this.#recent.get(keyOf(size));
    if (own) return longest(own);
    const bounds = [...this.#recent.values()].map((recent) => {
      const { tokens, keys } = recent.size;
      return longest(recent) * Math.max(1, size.tokens / tokens, size.keys / keys);
    });
    return bounds.length > 0 ? Math.min(...bounds, maxDerivedMs) : undefined;
  }
}

function longest({ ms, earlierMs }: Recent): number {
  return Math.max(ms, earlierMs);
}

function keyOf({ tokens, keys }: RunSize): string {
  return `${tokens} ${keys}`;
}
