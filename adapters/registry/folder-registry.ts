// Finds adapters by name in local folders: those below a root, which is read on each request and so needs no restart and no
// watcher, and folders that an operator has loaded by path. They belong to everybody and have no versions.
import { fieldError, ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { SHARED_OWNER } from '../../src/contracts/tenant.ts';
import { LATEST } from '../repository/manifest.ts';
import {
  type AdapterFolder,
  FolderContents,
  type FolderOptions,
  type FolderWithDigest,
  findFolder,
  findFolderAt,
  folderNames,
  showFolderAbout,
} from './folders.ts';
import { type NamedAdapter, parseModelName } from './model-name.ts';
import type { NamePageQuery } from './name-lists.ts';
import type { AdapterFinder, FoundAdapter, ListedPage } from './registry.ts';

const INVALID_NAME =
  'its name cannot be a model name: it must start with a letter, digit or _ and continue with these, . and -';
/** The most folders that are listed, and names that can be loaded. More must be a mistake. */
const MAX_FOLDERS = 10_000;

abstract class LocalFolders implements AdapterFinder {
  protected readonly contents: FolderContents;

  constructor(options: FolderOptions) {
    this.contents = new FolderContents(options);
  }

  async find(_owner: string, { name, selector }: NamedAdapter): Promise<FoundAdapter | undefined> {
    if (selector.kind === 'version' || selector.alias !== LATEST) return undefined;
    const folder = await this.contents.identify(name, () => this.locate(name));
    return folder && toFound(name, folder);
  }

  /** Lists the servable folders, judging by their configurations and headers. */
  async list(_owner: string, { from }: Pick<NamePageQuery, 'from'>): Promise<ListedPage> {
    const names = (await this.names()).filter((name) => name >= from).slice(0, MAX_FOLDERS);
    const found = await mapBounded(names, async (name) => {
      const folder = await this.locate(name).catch(() => undefined);
      if (!folder || (await this.contents.refusalOf(name, folder))) return [];
      const about = await showFolderAbout(folder.directory);
      const listed = { name, owner: SHARED_OWNER, root: name, created: createdS(folder) };
      return [{ ...listed, ...(about && { about }) }];
    });
    return { adapters: found.flat(), last: undefined };
  }

  protected abstract names(): Promise<readonly string[]>;
  protected abstract locate(name: string): Promise<AdapterFolder | undefined>;
}

/** The folders below a root, by name. Without a root there are none. */
export class FolderAdapters extends LocalFolders {
  readonly #root: string | undefined;

  constructor(root: string | undefined, options: FolderOptions) {
    super(options);
    this.#root = root;
  }

  /** Lists the refused folders with the reasons. */
  async refused(): Promise<{ readonly name: string; readonly reason: string }[]> {
    const root = this.#root;
    if (root === undefined) return [];
    const names = (await folderNames(root, 'any')).slice(0, MAX_FOLDERS);
    const refused = await mapBounded(names, async (name) => {
      const folder = await findFolderAt(root, name).catch(() => undefined);
      if (!folder) return [];
      if (!isFreeName(name)) return [{ name, reason: INVALID_NAME }];
      const refusal = await this.contents.refusalOf(name, folder, { waitsForPatterns: true });
      return refusal ? [{ name, reason: refusal.message }] : [];
    });
    return refused.flat();
  }

  protected override async names(): Promise<string[]> {
    return this.#root === undefined ? [] : folderNames(this.#root);
  }

  protected override async locate(name: string): Promise<AdapterFolder | undefined> {
    return this.#root === undefined ? undefined : findFolder(this.#root, name);
  }
}

/** Folders below a root that an operator has loaded by path. They stay loaded until the server ends. */
export class LoadedAdapters extends LocalFolders {
  readonly #root: string;
  readonly #baseNames: readonly string[];
  readonly #paths = new Map<string, string>();

  constructor(root: string, options: FolderOptions) {
    super(options);
    this.#root = root;
    this.#baseNames = options.baseNames;
  }

  /** Whether the name is loaded. */
  has(name: string): boolean {
    return this.#paths.has(name);
  }

  /**
   * Serves the folder at `folderPath`, absolute or below the root, under this name, after `check` has accepted it. Throws
   * `ServeError` (400, 404, 422, 503), or what `check` throws.
   */
  async load(
    name: string,
    folderPath: string,
    check?: (found: FoundAdapter) => Promise<unknown>,
  ): Promise<void> {
    if (this.#baseNames.includes(name) || !isFreeName(name)) {
      const fault =
        'must start with a letter, a digit or _, continue with these, . and -, and not be a name of the base';
      throw fieldError('lora_name', fault);
    }
    if (this.#paths.size >= MAX_FOLDERS) {
      const message = `${MAX_FOLDERS} adapters are already loaded by path, which is the limit. Unload one first: POST /v1/unload_lora_adapter`;
      throw new ServeError('overloaded', message);
    }
    const folder = await this.contents.identify(name, () => findFolderAt(this.#root, folderPath));
    if (!folder) {
      const message =
        'lora_path: is not an adapter folder below the folder of --loadable-adapters. It must have an adapter_config.json.';
      throw new ServeError('not_found', message, { param: 'lora_path' });
    }
    await check?.(toFound(name, folder));
    this.#paths.set(name, folderPath);
  }

  /** Stops serving the name. Returns false if it is not loaded. */
  unload(name: string): boolean {
    return this.#paths.delete(name);
  }

  protected override async names(): Promise<string[]> {
    return [...this.#paths.keys()];
  }

  protected override async locate(name: string): Promise<AdapterFolder | undefined> {
    const folderPath = this.#paths.get(name);
    return folderPath === undefined ? undefined : findFolderAt(this.#root, folderPath);
  }
}

function toFound(name: string, folder: FolderWithDigest): FoundAdapter {
  const { directory, digest, rank, vocabSize } = folder;
  return {
    part: {
      owner: SHARED_OWNER,
      name,
      digest,
      location: { kind: 'folder', directory, rank, vocabSize },
    },
    created: createdS(folder),
  };
}

function createdS({ createdMs }: AdapterFolder): number {
  return Math.floor(createdMs / 1000);
}

/** Whether a request can name the folder: no other meaning has the name. */
function isFreeName(name: string): boolean {
  const model = parseModelName(name);
  return model?.kind === 'adapters' && model.terms[0]!.adapter.name === name;
}
