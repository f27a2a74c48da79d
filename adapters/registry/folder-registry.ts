// Adapters by name in local folders: those below a root, looked at when they are asked for, so that it needs no restart
// and no watcher; and those that an operator has loaded by path. They are everybody's, and they have no versions.
import { ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { SHARED_OWNER } from '../../src/contracts/tenant.ts';
import { LATEST } from '../repository/manifest.ts';
import {
  createFolderDigests,
  type FolderDigests,
  type FolderDigestsOptions,
  type FolderWithDigest,
  findRefusal,
} from './folder-digests.ts';
import { type AdapterFolder, findFolder, findFolderAt, folderNames } from './folders.ts';
import { type AdapterName, parseModelName } from './model-name.ts';
import type { AdapterFinder, FoundAdapter, ListedAdapter } from './registry.ts';

const NO_MODEL_NAME =
  'its name is no model name: it must start with a letter, digit or _ and go on with these, . and -';
/** What is listed, and names that are loaded: more are a mistake of whoever made them. */
const MAX_FOLDERS = 10_000;

/** The folders below `root`, each a name; without a root there are none. */
export function createFolderAdapters(
  root: string | undefined,
  options: FolderDigestsOptions,
): AdapterFinder {
  const finder = createFinder(createFolderDigests(options), async (name) =>
    root === undefined ? undefined : findFolder(root, name),
  );
  return {
    find: finder.find,
    list: async () => finder.list(root === undefined ? [] : await folderNames(root)),
  };
}

/** What lies below `root` and cannot be served, each with the reason. */
export async function findRefusedFolders(
  root: string,
): Promise<{ readonly name: string; readonly reason: string }[]> {
  const names = (await folderNames(root, 'any')).slice(0, MAX_FOLDERS);
  const refused = await mapBounded(names, async (name) => {
    const folder = await findFolderAt(root, name).catch(() => undefined);
    if (!folder) return [];
    if (!isFreeName(name)) return [{ name, reason: NO_MODEL_NAME }];
    const refusal = await findRefusal(folder.directory);
    return refusal ? [{ name, reason: refusal.message }] : [];
  });
  return refused.flat();
}

/** Folders that an operator has loaded by path, until the server ends. */
export interface LoadedAdapters extends AdapterFinder {
  has(name: string): boolean;
  /**
   * Serves the folder at `place`, absolute or below the root, from now on, once `check` has seen what is in it.
   * Throws `ServeError` (400, 404, 422, 503), or what `check` throws.
   */
  load(
    name: string,
    place: string,
    check?: (found: FoundAdapter) => Promise<unknown>,
  ): Promise<void>;
  /** False: no such name was loaded. */
  unload(name: string): boolean;
}

/** Only folders below `root` may be loaded. */
export function createLoadedAdapters(root: string, options: FolderDigestsOptions): LoadedAdapters {
  const places = new Map<string, string>();
  const lookAt = (place: string) => findFolderAt(root, place);
  const digests = createFolderDigests(options);
  const finder = createFinder(digests, async (name) => {
    const place = places.get(name);
    return place === undefined ? undefined : lookAt(place);
  });
  return {
    find: finder.find,
    list: () => finder.list([...places.keys()]),
    has: (name) => places.has(name),
    unload: (name) => places.delete(name),
    async load(name, place, check) {
      if (options.baseNames.includes(name) || !isFreeName(name)) {
        throw new ServeError('invalid_request', 'lora_name: is no name of an adapter', {
          param: 'lora_name',
        });
      }
      if (places.size >= MAX_FOLDERS) {
        throw new ServeError('overloaded', `${MAX_FOLDERS} adapters are loaded by path already`);
      }
      const folder = await digests.identify(name, () => lookAt(place));
      if (!folder) {
        const message = 'lora_path: there is no adapter folder that may be loaded';
        throw new ServeError('not_found', message, { param: 'lora_path' });
      }
      await check?.(toFound(name, folder));
      places.set(name, place);
    },
  };
}

function createFinder(
  digests: FolderDigests,
  look: (name: string) => Promise<AdapterFolder | undefined>,
) {
  return {
    async find(_owner: string, { name, selector }: AdapterName): Promise<FoundAdapter | undefined> {
      if (selector.kind === 'version' || selector.alias !== LATEST) return undefined;
      const folder = await digests.identify(name, () => look(name));
      return folder && toFound(name, folder);
    },

    /** What can be served, as far as configurations and headers tell. */
    async list(names: readonly string[]): Promise<ListedAdapter[]> {
      const found = await mapBounded(names.slice(0, MAX_FOLDERS), async (name) => {
        const folder = await look(name).catch(() => undefined);
        if (!folder || (await digests.refusalOf(name, folder))) return [];
        return [{ name, owner: SHARED_OWNER, root: name, created: createdS(folder) }];
      });
      return found.flat();
    },
  };
}

function toFound(name: string, folder: FolderWithDigest): FoundAdapter {
  const { directory, digest, rank } = folder;
  return {
    part: { owner: SHARED_OWNER, name, digest, place: { kind: 'folder', directory, rank } },
    created: createdS(folder),
  };
}

function createdS({ createdMs }: AdapterFolder): number {
  return Math.floor(createdMs / 1000);
}

/** Whether requests can say it. */
function isFreeName(name: string): boolean {
  const model = parseModelName(name);
  return model?.kind === 'adapters' && model.terms[0]!.adapter.name === name;
}
