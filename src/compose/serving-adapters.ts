// Wires a server's adapters: where their names are found (the store, local folders, folders loaded by path, the demo adapters)
// and how their files reach this machine. Sends no request to the store, so a server starts without it.
import path from 'node:path';
import { FolderAdapters, LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import { type BaseModel, Registry } from '../../adapters/registry/registry.ts';
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import { type AdapterRepository, createRepository } from '../../adapters/repository/repository.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { openLocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import type { Logger } from '../common/log.ts';
import { LOCAL_TENANT } from '../contracts/tenant.ts';
import type { EngineClient } from '../engine-client/client.ts';
import type { AppOptions } from '../http/deps.ts';
import { prefetchAdapter } from '../http/request/prefetch.ts';
import type { Config } from '../settings/config.ts';
import { DEMO_BASES } from './demo-adapters.ts';
import { readSignatureKeys } from './repository.ts';

/** A server's adapters. */
export interface ServingAdapters {
  /** The part that the HTTP side uses. */
  readonly http: Pick<AppOptions, 'registry' | 'localAdapters' | 'loaded' | 'published'>;
  readonly store: ObjectStore;
  readonly repository: AdapterRepository;
  /** Drops what this server has cached about a name after it has published a version. */
  readonly forget: (tenant: string, name: string) => void;
  /** Loads adapters, named `NAME` or `TENANT/NAME`. For `keepWarmMs`, others are evicted first. Never rejects. */
  preload(names: readonly string[], keepWarmMs: number): Promise<void>;
  /** Refuses requests that wait for an adapter's files, like the engine refuses those that wait for a slot. */
  drain(): Promise<void>;
}

/** The parts of a server that its adapters need. */
interface ServingAdaptersOptions {
  readonly base: BaseModel;
  /** The folder of the demo adapters. Undefined if they are not served. */
  readonly demoDir: string | undefined;
  readonly client: EngineClient;
  readonly log: Logger;
}

/** Opens the store, the local folders and the disk cache that the settings name. */
export async function openServingAdapters(
  config: Config,
  { base, demoDir, client, log }: ServingAdaptersOptions,
): Promise<ServingAdapters> {
  const store = await openStore(config);
  const cacheDir = path.join(config.home, 'cache');
  const { adapterDiskBytes: diskBytes, aliasPollMs: pollMs } = config;
  const localAdapters = openLocalAdapters({ store, cacheDir, diskBytes, log });
  const repository = createRepository(store, {
    log,
    signatureKeys: readSignatureKeys(config),
  });
  const storeAdapters = new StoreAdapters(repository, {
    pollMs,
    isTidy: config.training > 0, // else it may only read
    log,
    async warm(part) {
      const { name: id, digest } = part;
      const parts = [{ ...part, weight: 1 }];
      await prefetchAdapter({ localAdapters, client }, { kind: 'adapter', id, digest, parts });
    },
  });
  const folders = { baseNames: [base.id, ...base.names], log };
  const loadedAdapters = config.loadableAdapters
    ? new LoadedAdapters(config.loadableAdapters, folders)
    : undefined;
  const folderAdapters = new FolderAdapters(config.adapters, folders);
  const local = [...(loadedAdapters ? [loadedAdapters] : []), folderAdapters];
  void warnOfRefused(folderAdapters, log);
  const forget = (tenant: string, name: string) => storeAdapters.forget(tenant, name);
  const registry = new Registry({
    base,
    local,
    store: storeAdapters,
    maxRank: config.maxAdapterRank,
    ...(demoDir && { bundled: new FolderAdapters(demoDir, { baseNames: DEMO_BASES, log }) }),
  });
  return {
    http: {
      registry,
      localAdapters,
      published: {
        repository,
        page: (owner, query) => storeAdapters.page(owner, query),
        forget,
      },
      ...(loadedAdapters && { loaded: loadedAdapters }),
    },
    store,
    repository,
    forget,
    preload: (...names) => preloadAdapters(...names, { registry, localAdapters, client, log }),
    drain: () => localAdapters.close(),
  };
}

/**
 * Logs once every folder that cannot become a model, which is usually a mistake. If the root is unreadable, requests fail
 * later.
 */
async function warnOfRefused(adapters: FolderAdapters, log: Logger): Promise<void> {
  const refused = await adapters.refused().catch(() => []);
  for (const fields of refused) log.warn(fields, 'adapter folder not served');
}

/** The parts of a server that load adapters ahead of requests. */
type PreloadDeps = Pick<AppOptions, 'registry' | 'localAdapters' | 'client' | 'log'>;

/**
 * Loads adapters, named `NAME` or `TENANT/NAME`. For `keepWarmMs`, others are evicted first. Never rejects: failures are logged.
 */
export async function preloadAdapters(
  names: readonly string[],
  keepWarmMs: number,
  deps: PreloadDeps,
): Promise<void> {
  await Promise.all(
    names.map((name) =>
      preload(name, keepWarmMs, deps).catch((error) => {
        const reason = error instanceof Error ? error.message : String(error);
        deps.log.warn({ adapter: name, reason }, 'adapter not preloaded');
      }),
    ),
  );
}

async function preload(name: string, keepWarmMs: number, deps: PreloadDeps): Promise<void> {
  const slash = name.indexOf('/');
  const id = slash < 0 ? LOCAL_TENANT.id : name.slice(0, slash);
  const model = await deps.registry.resolve({ ...LOCAL_TENANT, id }, name.slice(slash + 1));
  if (model.kind === 'base') return;
  const adapterUse = await prefetchAdapter(deps, model, { keepWarmMs });
  deps.log.info({ adapter: name, ...adapterUse }, 'adapter preloaded');
}
