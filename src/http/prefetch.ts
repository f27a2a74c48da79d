// Brings an adapter as near to the engine as it goes without running it: to the local disk, then into memory.
import type { ResolvedAdapter } from '../../adapters/registry/resolved.ts';
import type { AdapterReceipt } from '../telemetry/request-observer.ts';
import type { Deps } from './deps.ts';
import { toReceipt } from './generation.ts';

export interface PrefetchOptions {
  /** Others are evicted before it for so long. */
  readonly keepWarmMs?: number;
  /** Ends the wait for the files; a load that has begun goes on. */
  readonly signal?: AbortSignal;
}

/** Throws `ServeError`: what is wrong with the adapter, its store or the engine. */
export async function prefetchAdapter(
  { localAdapters, client }: Pick<Deps, 'localAdapters' | 'client'>,
  adapter: ResolvedAdapter,
  { signal, ...options }: PrefetchOptions = {},
): Promise<AdapterReceipt> {
  const lease = await localAdapters.acquire(adapter, signal ? { signal } : {});
  try {
    return toReceipt(lease, await client.prefetch(lease.source, options));
  } finally {
    lease.release();
  }
}
