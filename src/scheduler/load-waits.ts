// How long sequences wait for their adapters: until the load ends, the sequence does, or time is up.
// Knows no adapters and no loads.
import { ServeError } from '../common/errors.ts';
import { setLoopTimeout } from './loop-timeout.ts';
import type { SequenceId } from './protocol.ts';

/** The largest adapter (2 GiB) comes from a slow disk in 40 s; one that hangs must not hold requests for ever. */
const LOAD_DEADLINE_MS = 60_000;

interface Wait {
  readonly controller: AbortController;
  cancelDeadline(): void;
}

export class LoadWaits {
  readonly #waits = new Map<SequenceId, Wait>();

  /** The signal is aborted when the wait ends; its reason is a `ServeError` where it took too long. */
  start(id: SequenceId): AbortSignal {
    const controller = new AbortController();
    const late = new ServeError('adapter_unavailable', 'The adapter took too long to load.');
    const cancelDeadline = setLoopTimeout(() => controller.abort(late), LOAD_DEADLINE_MS);
    this.#waits.set(id, { controller, cancelDeadline });
    return controller.signal;
  }

  /** Without effect where the sequence does not wait. */
  end(id: SequenceId): void {
    const wait = this.#waits.get(id);
    if (!wait) return;
    this.#waits.delete(id);
    wait.cancelDeadline();
    wait.controller.abort();
  }
}
