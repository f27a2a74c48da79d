// What a server needs of adapters, composed: where names are found (the store, local folders, folders loaded by path),
// and how their files come to this machine. Opens the store without asking it anything: a server starts without it.
import path from 'node:path';
import {
  createFolderAdapters,
  createLoadedAdapters,
  findRefusedFolders,
} from '../../adapters/registry/folder-registry.ts';
import { type BaseModel, createRegistry } from '../../adapters/registry/registry.ts';
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import {
  type AdapterRepository,
  createAdapterRepository,
} from '../../adapters/repository/repository.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { openLocalAdapters } from '../../adapters/tiers/open-local-adapters.ts';
import type { Logger } from '../common/log.ts';
import type { AppOptions } from '../http/deps.ts';
import { prefetchAdapter } from '../http/prefetch.ts';
import type { EngineClient } from '../scheduler/client.ts';
import type { Config } from '../settings/config.ts';
import { DEMO_BASES } from './demo-adapters.ts';

export interface ServingAdapters {
  readonly side: Pick<AppOptions, 'registry' | 'localAdapters' | 'loaded' | 'published'>;
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  /** This server has published a version of the name: what it knew of it is old. */
  readonly forget: (tenant: string, name: string) => void;
}

export interface ServingAdaptersOptions {
  readonly base: BaseModel;
  /** The folder of the demo adapters, if they are to be served. */
  readonly demoDir: string | undefined;
  readonly client: EngineClient;
  readonly log: Logger;
}

export async function openServingAdapters(
  config: Config,
  { base, demoDir, client, log }: ServingAdaptersOptions,
): Promise<ServingAdapters> {
  const store = await openStore(config);
  const cacheDir = path.join(config.home, 'cache');
  const { adapterDiskBytes: diskBytes, aliasPollMs: pollMs } = config;
  const localAdapters = openLocalAdapters({ store, cacheDir, diskBytes, log });
  const repository = createAdapterRepository(store, { log });
  const published = new StoreAdapters(repository, {
    pollMs,
    log,
    async warm(part) {
      const { name: id, digest } = part;
      const parts = [{ ...part, weight: 1 }];
      await prefetchAdapter({ localAdapters, client }, { kind: 'adapter', id, digest, parts });
    },
  });
  const folders = { baseNames: [base.id, ...base.names], log };
  const loaded = config.loadableAdapters
    ? createLoadedAdapters(config.loadableAdapters, folders)
    : undefined;
  const local = [...(loaded ? [loaded] : []), createFolderAdapters(config.adapters, folders)];
  void warnOfRefused(config.adapters, log);
  const forget = (tenant: string, name: string) => published.forget(tenant, name);
  return {
    side: {
      registry: createRegistry({
        base,
        local,
        store: published,
        maxRank: config.maxAdapterRank,
        ...(demoDir && { bundled: createFolderAdapters(demoDir, { baseNames: DEMO_BASES, log }) }),
      }),
      localAdapters,
      published: { repository, forget },
      ...(loaded && { loaded }),
    },
    store,
    repository,
    forget,
  };
}

/** Said once at the start: a folder that does not become a model is mostly a mistake. */
async function warnOfRefused(root: string | undefined, log: Logger): Promise<void> {
  if (root === undefined) return;
  const refused = await findRefusedFolders(root).catch(() => []); // requests will be told
  for (const fields of refused) log.warn(fields, 'adapter folder not served');
}
