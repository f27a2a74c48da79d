// How long runs of the engine have taken on this machine, by the size of their batch. Pure data: callers measure the times.
import type { Batch } from '../engine/batch.ts';
import type { FromEngine, RunSize, SequenceId } from './protocol.ts';

/** Returns the size of a batch. A decoding row grows by one token per step, so its size changes rarely. */
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

/** A run is remembered for this many later runs of its size, at most twice as many. A second of decoding has 10 to 100 runs. */
export const RUNS_REMEMBERED = 256;

/** The longest runs of a size in two spans of `RUNS_REMEMBERED` runs: the current and the previous one. */
interface Recent {
  readonly size: RunSize;
  readonly ms: number;
  readonly count: number;
  readonly earlierMs: number;
}

/** The longest recent run of each size. A stall, for example while the machine swaps, is forgotten after a while. */
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
   * Returns the longest time in ms of a recent run of this size. If there was none, derives it from the other sizes: the time
   * grows at most with the number of tokens or of keys, and the larger factor counts. A derived time is at most `maxDerivedMs`.
   * Undefined before the first run.
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

/** Posts the sequences of a run if they differ from the last run's. */
export class RunAnnouncer {
  readonly #post: (message: FromEngine) => void;
  #ids: readonly SequenceId[] = [];
  #size: RunSize | undefined;

  constructor(post: (message: FromEngine) => void) {
    this.#post = post;
  }

  /** Posts the sequences and the size of the run that begins, unless they equal the last run's. */
  begin(ids: readonly SequenceId[], batch: Batch): void {
    this.#announce(ids, sizeOf(batch));
  }

  /** Posts that nothing runs. */
  idle(): void {
    this.#announce([], undefined);
  }

  #announce(ids: readonly SequenceId[], size: RunSize | undefined): void {
    const isSameSize = size?.tokens === this.#size?.tokens && size?.keys === this.#size?.keys;
    const isSame = ids.length === this.#ids.length && ids.every((id, i) => id === this.#ids[i]);
    if (isSame && isSameSize) return;
    this.#ids = ids;
    this.#size = size;
    this.#post({ type: 'running', ids, ...(size && { size }) });
  }
}
