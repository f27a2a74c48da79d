// Loads an adapter as far as possible without running it: to the local disk, then into memory.

import type { LeaseOptions } from '../../../adapters/cache/cache.ts';
import type { ResolvedAdapter } from '../../../adapters/registry/resolved.ts';
import type { AdapterUse } from '../../contracts/generation.ts';
import type { GenerationDeps } from '../generation/generation-plan.ts';
import { toAdapterUse } from '../generation/sequences.ts';

/** Fetches an adapter's files and loads them. Throws `ServeError` if the adapter, its store or the engine fails. */
export async function prefetchAdapter(
  { localAdapters, client }: Pick<GenerationDeps, 'localAdapters' | 'client'>,
  adapter: ResolvedAdapter,
  { signal, ...options }: LeaseOptions = {},
): Promise<AdapterUse> {
  const lease = await localAdapters.acquire(adapter, signal ? { signal } : {});
  try {
    return toAdapterUse(lease, await client.prefetch(lease.source, options));
  } finally {
    lease.release();
  }
}
