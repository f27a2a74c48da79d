// Names → what they stand for: the base, or an adapter's digest and where its files lie. This registry serves a
// folder of PEFT folders to one tenant; it looks at a folder when it is asked for, so it needs no restart and no
// watcher. It knows no weights: whether an adapter's tensors fit the model is found when they are loaded.
import { readdir } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import { ServeError } from '../src/errors.ts';
import type { Logger } from '../src/log.ts';
import { SHARED_OWNER, type Tenant } from '../src/tenant.ts';
import { digestAdapterFiles } from './files.ts';
import { type AdapterFolder, findFolder, folderNames } from './folders.ts';
import { parseAdapterConfig } from './peft-config.ts';
import type { ResolvedAdapter, ResolvedModel } from './resolved.ts';

export interface ModelEntry {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  /** An adapter's base; absent for the base itself. */
  readonly parent?: string;
  readonly root: string;
}

export interface Registry {
  /** Throws `ServeError`: the same `model_not_found` for every miss, `adapter_invalid`, `adapter_unavailable`. */
  resolve(tenant: Tenant, model: string): Promise<ResolvedModel>;
  /** What this tenant may name: the base first, then adapters by name. */
  list(tenant: Tenant): Promise<ModelEntry[]>;
}

interface BaseModel {
  readonly id: string;
  /** Its other names. */
  readonly names: readonly string[];
}

export interface FolderRegistryOptions {
  readonly base: BaseModel;
  readonly log?: Logger;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

/** They mean the base, whatever folders there are. */
const BASE_NAMES = ['base', 'default'];
/** Folders that are remembered and listed; more are served, and hashed again when they were forgotten. */
const MAX_FOLDERS = 10_000;
/** How often a folder that changes while it is hashed is tried again at once. */
const MAX_TRIES = 3;
/**
 * A file written twice within one tick of its clock (4 ms on Linux, 2 s on FAT) may keep its size and its times,
 * so a digest taken sooner after a change serves its own request only.
 */
const SETTLING_MS = 2000;
/** Shipped by training scripts beside an adapter; never read: the base's own are used. */
const IGNORED_FILES = ['tokenizer.json', 'added_tokens.json', 'chat_template.jinja'];

interface Known {
  readonly signature: string;
  /** The digest, or undefined where the files changed meanwhile; rejects with the refusal. */
  readonly digest: Promise<string | undefined>;
  /** `final` holds as long as the signature does. */
  state: 'pending' | 'provisional' | 'final';
}

/** A registry over the folders below `root`, each a model's name; without a root there is only the base. */
export function createFolderRegistry(
  root: string | undefined,
  { base, log, now = Date.now }: FolderRegistryOptions,
): Registry {
  const known = new LRUCache<string, Known>({ max: MAX_FOLDERS });
  const startedMs = now();
  const baseNames = new Set([...BASE_NAMES, base.id, ...base.names]);
  const find = async (name: string) => (root === undefined ? undefined : findFolder(root, name));

  function identify(name: string, folder: AdapterFolder): Promise<string | undefined> {
    const { signature, changedMs } = folder;
    const remembered = known.get(name);
    const isSame = remembered?.signature === signature;
    if (isSame && remembered.state !== 'provisional') return remembered.digest;
    const settledState = now() - changedMs > SETTLING_MS ? 'final' : 'provisional';
    const digest = inspect(name, folder, isSame ? undefined : log);
    const entry: Known = { signature, digest, state: 'pending' };
    known.set(name, entry);
    digest.then(
      (found) => {
        entry.state = found === undefined ? 'provisional' : settledState;
      },
      (error) => {
        entry.state = isRefusal(error) ? settledState : 'provisional';
      },
    );
    return digest;
  }

  /** Hashes a folder that is new or has changed, and says once in the log what its owner may want to know. */
  async function inspect(
    name: string,
    folder: AdapterFolder,
    log: Logger | undefined,
  ): Promise<string | undefined> {
    try {
      const { digest, configBytes } = await digestAdapterFiles(folder.directory);
      const { baseModel } = parseAdapterConfig(configBytes);
      if ((await find(name))?.signature !== folder.signature) return undefined;
      warnOfOtherBase(name, baseModel, log);
      const ignored = (await readdir(folder.directory)).filter((f) => IGNORED_FILES.includes(f));
      if (ignored.length > 0) log?.warn({ adapter: name, ignored }, 'adapter ships files not used');
      return digest;
    } catch (error) {
      if ((await find(name))?.signature !== folder.signature) return undefined;
      log?.warn({ adapter: name, reason: (error as Error).message }, 'adapter refused');
      throw error;
    }
  }

  function warnOfOtherBase(name: string, baseModel: string | undefined, log: Logger | undefined) {
    const trainedOn = baseModel?.split(/[\\/]/).findLast((part) => part !== '');
    if (trainedOn === undefined || baseNames.has(trainedOn)) return;
    log?.warn({ adapter: name, trainedOn, base: base.id }, 'adapter names another base model');
  }

  return {
    async resolve(_tenant, model) {
      if (baseNames.has(model)) return { kind: 'base', id: base.id };
      for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
        const folder = await find(model);
        if (!folder) throw modelNotFound();
        const digest = await identify(model, folder);
        if (digest) return toResolved(model, digest, folder);
      }
      throw new ServeError('adapter_unavailable', 'adapter unavailable: it is being replaced');
    },

    async list(_tenant) {
      const names = root === undefined ? [] : await folderNames(root);
      const ids = names.filter((name) => !baseNames.has(name)).slice(0, MAX_FOLDERS);
      const folders = await Promise.all(ids.map((id) => find(id).catch(() => undefined)));
      const entries = ids.flatMap((id, i): ModelEntry[] => {
        const created = folders[i]?.createdMs;
        if (created === undefined) return [];
        return [{ id, created: toSeconds(created), parent: base.id, root: id }];
      });
      return [{ id: base.id, created: toSeconds(startedMs), root: base.id }, ...entries];
    },
  };
}

/** A folder that an operator put there is everybody's. */
function toResolved(name: string, digest: string, { directory }: AdapterFolder): ResolvedAdapter {
  const place = { kind: 'folder', directory } as const;
  return {
    kind: 'adapter',
    id: name,
    digest,
    parts: [{ owner: SHARED_OWNER, name, digest, weight: 1, place }],
  };
}

/** One body for all misses: unknown, malformed, foreign. */
function modelNotFound(): ServeError {
  const message = 'The model does not exist or you do not have access to it.';
  return new ServeError('model_not_found', message, { param: 'model' });
}

function isRefusal(error: unknown): boolean {
  return error instanceof ServeError && error.status === 422;
}

function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}
