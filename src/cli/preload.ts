// Adapters that an operator wants in memory before anybody asks for them.

import { LOCAL_TENANT, type Tenant } from '../contracts/tenant.ts';
import type { AppOptions } from '../http/deps.ts';
import { prefetchAdapter } from '../http/prefetch.ts';

export type PreloadDeps = Pick<AppOptions, 'registry' | 'localAdapters' | 'client' | 'log'>;

/** Loads `NAME` or `TENANT/NAME`, and keeps them: others are evicted before them. Never rejects: the log says why. */
export async function preloadAdapters(names: readonly string[], deps: PreloadDeps): Promise<void> {
  await Promise.all(
    names.map((name) =>
      preload(name, deps).catch((error) => {
        const reason = error instanceof Error ? error.message : String(error);
        deps.log.warn({ adapter: name, reason }, 'adapter not preloaded');
      }),
    ),
  );
}

async function preload(name: string, deps: PreloadDeps): Promise<void> {
  const [owner, model] = splitOwner(name);
  const tenant: Tenant = { ...LOCAL_TENANT, id: owner };
  const resolved = await deps.registry.resolve(tenant, model);
  if (resolved.kind === 'base') return;
  const receipt = await prefetchAdapter(deps, resolved, { keepWarmMs: Number.POSITIVE_INFINITY });
  deps.log.info({ adapter: name, ...receipt }, 'adapter preloaded');
}

function splitOwner(name: string): [owner: string, model: string] {
  const at = name.indexOf('/');
  return at < 0 ? [LOCAL_TENANT.id, name] : [name.slice(0, at), name.slice(at + 1)];
}
