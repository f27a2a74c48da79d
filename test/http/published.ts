// A server over published adapters, whole but for the engine: real repository, registry, fetcher and disk tier over a
// memory or folder store that a test can watch. Several may share a store, as several machines do.
import { Registry } from '../../adapters/registry/registry.ts';
import { adapterIdentity } from '../../adapters/registry/resolved.ts';
import { DiskTier } from '../../adapters/tiers/disk.ts';
import { Fetcher } from '../../adapters/tiers/fetcher.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { createLog } from '../../src/common/log.ts';
import { prefetchAdapter } from '../../src/http/request/prefetch.ts';
import {
  createPublished,
  openRegistry,
  type WatchedStore,
  watchStore,
} from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type Served, type ServedOptions, serve, utf8 } from './served.ts';

/** Another name of the base, as an operator sets it for clients that only know OpenAI's models. */
export const BASE_ALIAS = 'gpt-4o-mini-2024-07-18';
const BASE = { id: 'toy', names: [BASE_ALIAS], digest: 'b'.repeat(64) };

export interface ServedPublished extends Served {
  publish: ReturnType<typeof createPublished>['publish'];
  repository: ReturnType<typeof createPublished>['repository'];
  /** What this server reads of the store. */
  store: WatchedStore;
  clock: { nowMs: number };
  leased: CountedAdapters['leased'];
  /** Fetches under way. */
  fetching(): number;
  /** Somebody here has published a version of this name. */
  forget(tenant: string, name: string): void;
}

/** The engine says the identity of the adapter that each token was made with, over and over. */
export function servePublished(
  inner: WatchedStore = watchStore(),
  options: ServedOptions = {},
): ServedPublished {
  const { store, repository, clock, adapters } = openRegistry(inner, {
    async warm(part) {
      const { name: id, digest } = part;
      const parts = [{ ...part, weight: 1 }];
      await prefetchAdapter(
        { localAdapters, client: served.client },
        { kind: 'adapter', id, digest, parts },
      );
    },
  });
  const localAdapters = new CountedAdapters({
    fetcher: new Fetcher({ store, log: createLog('silent') }),
    disks: [new DiskTier({ root: temporaryFolder(), capacityBytes: 2 ** 20 })],
  });
  const served: Served = serve({
    registry: new Registry({ base: BASE, store: adapters }),
    localAdapters,
    reply: (_, key) => utf8((key ?? 'base').repeat(20)),
    ...options,
  });
  const { publish } = createPublished(inner);
  const fetching = () => localAdapters.stats().fetching;
  const forget = (tenant: string, name: string) => adapters.forget(tenant, name);
  const { leased } = localAdapters;
  return { ...served, publish, repository, store, clock, leased, fetching, forget };
}

/** What the engine says for a version of a tenant's. */
export function sayingOf(owner: string, digest: string): string {
  return adapterIdentity([{ owner, digest, weight: 1 }]);
}

/** Counts its leases, and which of them were verified again. */
export class CountedAdapters extends LocalAdapters {
  readonly leased = { held: 0, total: 0, verifiedAgain: 0 };

  override async acquire(...args: Parameters<LocalAdapters['acquire']>) {
    const lease = await super.acquire(...args);
    const { leased } = this;
    leased.held++;
    leased.total++;
    let isHeld = true;
    const release = () => {
      if (isHeld) leased.held--;
      isHeld = false;
      lease.release();
    };
    const verifyAgain = () => {
      leased.verifiedAgain++;
      lease.verifyAgain();
    };
    return { ...lease, verifyAgain, release, [Symbol.dispose]: release };
  }
}
