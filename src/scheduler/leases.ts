// The adapters that live sequences use: one lease per sequence, from the moment its adapter starts to load until the sequence
// ends.
import type { AdapterCache, Lease } from '../../adapters/cache/cache.ts';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { ServeError } from '../common/errors.ts';
import type { Clock } from '../common/waiting.ts';
import type { AdapterSource } from '../contracts/generation.ts';
import type { TenantShare } from '../contracts/tenant.ts';
import type { AdapterKey } from '../engine/batch.ts';
import { setLoopTimeout } from './liveness.ts';
import type { SequenceId } from './protocol.ts';

/** The part of the adapter cache that the step loop uses. */
export type AdapterLeases = Pick<AdapterCache, 'lease' | 'resident' | 'stats'>;

/** The largest adapter (2 GiB) takes 40 s from a slow disk. A load that hangs must not block its requests for longer. */
const LOAD_TIMEOUT_MS = 60_000;

interface PendingLoad {
  readonly controller: AbortController;
  cancelTimeout(): void;
}

/** Holds a lease per sequence, with a timeout for the load. */
export class SequenceLeases {
  readonly #adapters: AdapterLeases;
  readonly #clock: Clock | undefined;
  readonly #loads = new Map<SequenceId, PendingLoad>();
  readonly #leases = new Map<SequenceId, Lease>();

  /** @param clock default: the machine's */
  constructor(adapters: AdapterLeases, clock?: Clock) {
    this.#adapters = adapters;
    this.#clock = clock;
  }

  /**
   * Leases a sequence's adapter. Returns undefined if `end` was called meanwhile; a late lease is then released. Rejects like
   * `AdapterLeases.lease`, and with `ServeError` `adapter_unavailable` after a timeout.
   */
  async start(
    id: SequenceId,
    source: AdapterSource,
    tenant: TenantShare,
  ): Promise<Lease | undefined> {
    const controller = new AbortController();
    const late = new ServeError('adapter_unavailable', 'The adapter took too long to load.');
    const giveUp = () => controller.abort(late);
    const cancelTimeout = setLoopTimeout(giveUp, LOAD_TIMEOUT_MS, this.#clock);
    this.#loads.set(id, { controller, cancelTimeout });
    const lease = await this.#adapters.lease(source, { signal: controller.signal, tenant });
    if (!this.#endLoad(id)) {
      lease.release();
      return undefined;
    }
    this.#leases.set(id, lease);
    return lease;
  }

  /** Ends the load and the lease of a sequence, if it has any. */
  end(id: SequenceId): void {
    this.#endLoad(id);
    this.#leases.get(id)?.release();
    this.#leases.delete(id);
  }

  /** The weights of a leased adapter. Throws `ServeError` if no lease has this digest. */
  weights(key: AdapterKey): AdapterWeights {
    for (const { weights } of this.#leases.values()) if (weights.digest === key) return weights;
    throw new ServeError('adapter_unavailable', 'The adapter changed while it was loaded.');
  }

  #endLoad(id: SequenceId): boolean {
    const load = this.#loads.get(id);
    if (!load) return false;
    this.#loads.delete(id);
    load.cancelTimeout();
    load.controller.abort();
    return true;
  }
}
