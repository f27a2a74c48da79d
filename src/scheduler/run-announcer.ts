// Tells the server which sequences are running, in case the process dies or hangs in this run.
import type { Batch } from '../engine/batch.ts';
import type { FromEngine, RunSize, SequenceId } from './protocol.ts';
import { sizeOf } from './run-times.ts';

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
