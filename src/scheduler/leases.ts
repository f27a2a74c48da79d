// The adapters that live sequences use: one lease per sequence, from the moment its adapter starts to load until the sequence
// ends.
import type { AdapterCache, Lease } from '../../adapters/cache/cache.ts';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { ServeError } from '../common/errors.ts';
import { type Clock, setLoopTimeout } from '../common/waiting.ts';
import type { AdapterSource } from '../contracts/generation.ts';
import type { TenantShare } from '../contracts/tenant.ts';
import type { AdapterKey } from '../engine/batch.ts';
import type { SequenceId } from './protocol.ts';

/** The part of the adapter cache that the step loop uses. */
export type AdapterLeases = Pick<AdapterCache, 'lease' | 'resident' | 'stats'>;

/** The largest adapter (2 GiB) takes 40 s from a slow disk. A load that hangs must not block its requests for longer. */
const LOAD_TIMEOUT_MS = 60_000;

/** A sequence's use of an adapter, from the start of the load. */
interface AdapterUse {
  readonly controller: AbortController;
  cancelTimeout(): void;
  /** Absent while the adapter is being loaded. */
  lease?: Lease;
}

/** Holds a lease per sequence, with a timeout for the load. */
export class SequenceLeases {
  readonly #adapters: AdapterLeases;
  readonly #clock: Clock | undefined;
  readonly #uses = new Map<SequenceId, AdapterUse>();

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
    const late = new ServeError(
      'adapter_unavailable',
      'The adapter took too long to load. Try again.',
    );
    const giveUp = () => controller.abort(late);
    const cancelTimeout = setLoopTimeout(giveUp, LOAD_TIMEOUT_MS, this.#clock);
    const use: AdapterUse = { controller, cancelTimeout };
    this.#uses.set(id, use);
    const lease = await this.#adapters.lease(source, { signal: controller.signal, tenant });
    cancelTimeout();
    if (this.#uses.has(id)) {
      use.lease = lease;
      return lease;
    }
    lease.release();
    return undefined;
  }

  /** Ends the load and the lease of a sequence, if it has any. */
  end(id: SequenceId): void {
    const use = this.#uses.get(id);
    this.#uses.delete(id);
    use?.cancelTimeout();
    use?.controller.abort();
    use?.lease?.release();
  }

  /** The weights of a leased adapter. Throws `ServeError` if no lease has this digest. */
  weights(key: AdapterKey): AdapterWeights {
    for (const { lease } of this.#uses.values())
      if (lease?.weights.digest === key) return lease.weights;
    throw new ServeError(
      'adapter_unavailable',
      'The adapter changed while it was loaded. Try again.',
    );
  }
}
