// The opened parts of a server: they drain together, and close in the reverse order of their opening.
import type { LeaseWorker } from '../jobs/lease-worker.ts';

/** A part of a server. */
interface Part {
  /** Takes no more work, and lets the work that runs end. All parts drain at the same time. */
  drain?(): void | Promise<void>;
  /** Called once all parts have drained and the parts opened later are closed. */
  close?(): void | Promise<void>;
}

/** How long streams may take to end. Orchestrators usually kill after 30 s. */
export const DRAIN_DEADLINE_MS = 25_000;
/** How long trainers may take to finish their step and write a checkpoint. A step that takes longer is repeated later. */
const CHECKPOINT_DEADLINE_MS = 20_000;
/** How long clients may take to read the end of a stream. */
export const CLOSE_DEADLINE_MS = 2_000;

/** A worker of jobs or batches as a part: its tasks begin to end with the drain, and ports do not wait for them. */
export interface WorkerPart {
  start(): void;
  drain(): void;
  close(): Promise<void> | undefined;
}

/** Makes a part of a worker. */
export function toPart(worker: Pick<LeaseWorker<never>, 'start' | 'close'>): WorkerPart {
  let ended: Promise<void> | undefined;
  return {
    start: () => worker.start(),
    drain() {
      ended = worker.close(CHECKPOINT_DEADLINE_MS);
    },
    close: () => ended,
  };
}

/** Remembers what was opened. */
export class OpenedParts {
  /** Aborted when the server should get no more requests. */
  readonly leaving = new AbortController();
  readonly #parts: Part[] = [];

  /** Adds a part and returns it. */
  add<T extends Part | undefined>(part: T): T {
    if (part) this.#parts.unshift(part);
    return part;
  }

  /** Closes all parts, even if some of them fail. Rejects with the first failure. */
  async close(): Promise<void> {
    this.leaving.abort();
    const outcomes = await Promise.allSettled(this.#parts.map(async (part) => part.drain?.()));
    for (const part of this.#parts) {
      const close = async () => part.close?.();
      const [outcome] = await Promise.allSettled([close()]);
      outcomes.push(outcome);
    }
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
  }
}
