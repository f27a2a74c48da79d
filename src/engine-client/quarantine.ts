// Refuses adapters and requests that were in the failing step of two crashes, before they cause a third, which would end the
// server. Counts only crashes that the engine process caused itself.
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { entryLimit } from '../common/entry-limit.ts';
import { ServeError } from '../common/errors.ts';
import type { GenerationRequest } from '../contracts/generation.ts';

/** The parts of a sequence that can cause a crash. */
export interface Suspect {
  readonly adapter: string | undefined;
  readonly request: GenerationRequest;
}

/** A sequence of the failed step. `isNew`: no step had decoded it before. */
export interface InFlight extends Suspect {
  readonly isNew: boolean;
}

/** An adapter or a request that is refused. */
interface Quarantined {
  readonly id: string;
  readonly kind: 'adapter' | 'request';
  readonly crashes: number;
  /** Seconds until it is admitted again. */
  readonly remainingS: number;
}

const CRASHES_TO_REFUSE = 2;
/** Longer than the window in which three crashes end the server. */
const REFUSED_FOR_MS = 600_000;
/** More sequences than two crashes can ever have in flight. */
const MAX_SUSPECTS = 4_096;

/** Counts crashes per adapter and per request, and refuses those with too many. */
export class Quarantine {
  /** Id → the number of crashes while it was in flight. */
  readonly #crashes: LRUCache<string, number>;
  /** Adapters that finished a sequence on this engine, and so do not crash it by themselves. */
  readonly #proven = new LRUCache<string, true>(entryLimit(MAX_SUSPECTS));

  /** @param now returns monotonic milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#crashes = new LRUCache({
      ...entryLimit(MAX_SUSPECTS),
      ttl: REFUSED_FOR_MS,
      ttlResolution: 0,
      perf: { now },
    });
  }

  /** Returns the error for a refused sequence, or undefined if it is not refused. */
  refusal(suspect: Suspect): ServeError | undefined {
    if (this.#crashes.size === 0) return undefined;
    const { adapter } = suspect;
    if (adapter !== undefined && this.#isRefused(adapterId(adapter))) {
      return this.#refuse(adapterId(adapter), 'this adapter', { param: 'model' });
    }
    const id = requestId(suspect);
    return this.#isRefused(id) ? this.#refuse(id, 'this request') : undefined;
  }

  /** Records that a sequence of this adapter finished. */
  served(adapter: string): void {
    this.#proven.set(adapter, true);
  }

  /** Records a crash. It suspects the sequences that were new in the failing step, or all of them if none was new. */
  crashed(inStep: readonly InFlight[]): void {
    const newcomers = inStep.filter(({ isNew }) => isNew);
    const ids = new Set<string>();
    for (const suspect of newcomers.length > 0 ? newcomers : inStep) {
      ids.add(requestId(suspect));
      const { adapter } = suspect;
      if (adapter !== undefined && !this.#proven.has(adapter)) ids.add(adapterId(adapter));
    }
    for (const id of ids) this.#crashes.set(id, (this.#crashes.get(id) ?? 0) + 1);
    this.#proven.clear();
  }

  /** Everything that is currently refused. */
  list(): Quarantined[] {
    return [...this.#crashes.keys()]
      .filter((id) => this.#isRefused(id))
      .map((id) => ({
        id,
        kind: id.startsWith(ADAPTER) ? 'adapter' : 'request',
        crashes: this.#crashes.get(id)!,
        remainingS: this.#remainingS(id),
      }));
  }

  /** Admits one adapter or request again. Returns whether it was refused. */
  release(id: string): boolean {
    const wasRefused = this.#isRefused(id);
    this.#crashes.delete(id);
    return wasRefused;
  }

  /** Admits everything again and forgets all crashes. */
  clear(): void {
    this.#crashes.clear();
  }

  #isRefused(id: string): boolean {
    return (this.#crashes.get(id) ?? 0) >= CRASHES_TO_REFUSE;
  }

  #remainingS(id: string): number {
    return Math.ceil(this.#crashes.getRemainingTTL(id) / 1000);
  }

  #refuse(id: string, what: string, at: { param?: string } = {}): ServeError {
    const retryAfterS = this.#remainingS(id);
    const message =
      `The engine crashed twice while it ran ${what}, so ${what} is refused for another ` +
      `${retryAfterS} s. An operator can admit it earlier (DELETE /v1/quarantine/${id}).`;
    return new ServeError('quarantined', message, { ...at, retryAfterS });
  }
}

const ADAPTER = 'adapter-';

function adapterId(digest: string): string {
  return `${ADAPTER}${digest}`;
}

/** Hashes prompt, parameters and adapter. The tenant does not matter. */
function requestId({ adapter, request }: Suspect): string {
  const { sampling, constraint, ...rest } = request;
  const logitBias = [...(sampling.logitBias ?? [])];
  const plain = JSON.stringify([adapter, rest, constraint?.digest, { ...sampling, logitBias }]);
  return `request-${createHash('sha256').update(plain).digest('hex')}`;
}
