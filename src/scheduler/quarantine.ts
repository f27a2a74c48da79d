// What may have brought the engine down: adapters and requests that were in flight at two crashes are refused for a
// while, so that one of them cannot end the server with a third. Pure but for its memory; knows no process.
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { ServeError } from '../errors.ts';
import type { GenerationRequest } from '../generation.ts';

/** A sequence as far as it may be to blame. */
export interface Suspect {
  readonly adapter: string | undefined;
  readonly request: GenerationRequest;
}

/** In the engine when it crashed; `isNew`: it had not generated a token yet. */
export interface InFlight extends Suspect {
  readonly isNew: boolean;
}

const CRASHES_TO_REFUSE = 2;
/** Longer than the time in which three crashes end the server. */
const REFUSED_FOR_MS = 600_000;
/** More than are ever in flight at two crashes. */
const MAX_SUSPECTS = 4_096;

export class Quarantine {
  /** Adapter or request → the crashes that it was in flight at. */
  readonly #crashes: LRUCache<string, number>;
  /** Adapters that this engine has served to an end: they do not bring it down by themselves. */
  readonly #proven = new LRUCache<string, true>({ max: MAX_SUSPECTS });

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#crashes = new LRUCache({
      max: MAX_SUSPECTS,
      ttl: REFUSED_FOR_MS,
      ttlResolution: 0,
      perf: { now },
    });
  }

  /** Undefined: nothing speaks against it. */
  refusal({ adapter, request }: Suspect): ServeError | undefined {
    if (this.#crashes.size === 0) return undefined;
    if (adapter !== undefined && this.#isRefused(adapterKey(adapter))) {
      const message = 'adapter refused: the engine has crashed with it twice';
      return new ServeError('adapter_invalid', message, { param: 'model' });
    }
    if (!this.#isRefused(requestKey({ adapter, request }))) return undefined;
    return new ServeError('request_refused', 'The engine has crashed with this request twice.');
  }

  /** A sequence of this adapter was served to its end. */
  served(adapter: string): void {
    this.#proven.set(adapter, true);
  }

  /** What joined last is suspected, and the others only where nothing did. */
  crashed(inFlight: readonly InFlight[]): void {
    const joined = inFlight.filter(({ isNew }) => isNew);
    const keys = new Set<string>();
    for (const suspect of joined.length > 0 ? joined : inFlight) {
      keys.add(requestKey(suspect));
      const { adapter } = suspect;
      if (adapter !== undefined && !this.#proven.has(adapter)) keys.add(adapterKey(adapter));
    }
    for (const key of keys) this.#crashes.set(key, (this.#crashes.get(key) ?? 0) + 1);
    this.#proven.clear();
  }

  #isRefused(key: string): boolean {
    return (this.#crashes.get(key) ?? 0) >= CRASHES_TO_REFUSE;
  }
}

function adapterKey(digest: string): string {
  return `adapter ${digest}`;
}

/** Prompt, parameters and adapter; who asks does not matter. */
function requestKey({ adapter, request }: Suspect): string {
  const { sampling, ...rest } = request;
  const logitBias = [...(sampling.logitBias ?? [])];
  const plain = JSON.stringify([adapter, rest, { ...sampling, logitBias }]);
  return `request ${createHash('sha256').update(plain).digest('hex')}`;
}
