// Brings an adapter as near to the engine as possible without running it: to the local disk, then into memory.

import type { ResolvedAdapter } from '../../../adapters/registry/resolved.ts';
import type { TenantShare } from '../../contracts/tenant.ts';
import type { AdapterReceipt } from '../../telemetry/request-trace.ts';
import { toReceipt } from '../answer/generation.ts';
import type { Deps } from '../deps.ts';

/** How to prefetch an adapter. */
export interface PrefetchOptions {
  /** How long this adapter is kept in preference to others. */
  readonly keepWarmMs?: number;
  /** The tenant that asks for it. Absent: the server itself does. */
  readonly tenant?: TenantShare;
  /** Ends the wait for the files. A load that has begun goes on. */
  readonly signal?: AbortSignal;
}

/** Fetches an adapter's files and loads them. Throws `ServeError` if the adapter, its store or the engine fails. */
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
