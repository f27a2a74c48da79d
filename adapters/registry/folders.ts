// Reads PEFT folders on the local disk: their names, whether one has changed (by two stats), and their defaults.
import { access, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { entryLimit } from '../../src/common/entry-limit.ts';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { largest } from '../../src/common/long-arrays.ts';
import { type AdapterAbout, NO_ABOUT, readAbout } from '../../src/contracts/adapter-about.ts';
import {
  type GenerationConfig,
  readGenerationConfig,
} from '../../src/contracts/generation-config.ts';
import { type RequestDefaults, readRequestDefaults } from '../../src/contracts/request-defaults.ts';
import {
  CONFIG_FILE,
  digestAdapterFiles,
  isAbsence,
  measureAdapterFiles,
  readAdapterConfig,
  WEIGHTS_FILE,
} from '../peft/files.ts';
import { labelsOfConfig, openAdapterConfig, parseAdapterConfig } from '../peft/peft-config.ts';
import { orRefusal } from '../peft/refusal.ts';
import type { AdapterLocation } from './resolved.ts';

/** An adapter's folder in a certain state. */
export interface AdapterFolder {
  readonly directory: string;
  /** Identifies the state: it changes if one of the two files is written or replaced. */
  readonly signature: string;
  /** When the younger of the two files last changed, in Unix milliseconds. */
  readonly changedMs: number;
  /** When the configuration was written, in Unix milliseconds. */
  readonly createdMs: number;
}

/** A name of up to 255 characters, as file systems allow, without `..` and not hidden. */
const NAME_PATTERN = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;

/** Lists the valid names below the root, or any that are not hidden, sorted. Empty if the root does not exist. */
export async function folderNames(
  root: string,
  which: 'valid' | 'any' = 'valid',
): Promise<string[]> {
  const names = await readdir(root).catch((error) => {
    if (isAbsence(error)) return [];
    throw error;
  });
  const pattern = which === 'valid' ? NAME_PATTERN : /^[^.]/;
  return names.filter((name) => pattern.test(name)).sort();
}

/** Finds the adapter folder of this name below the root. Throws as `findFolderAt`. */
export async function findFolder(root: string, name: string): Promise<AdapterFolder | undefined> {
  return NAME_PATTERN.test(name) ? findFolderAt(root, name) : undefined;
}

/**
 * Finds the adapter folder at a path, absolute or relative to the root. Undefined if it is not below the root (links are
 * followed) or has no configuration. Throws `ServeError` (503) if the file system fails.
 */
export async function findFolderAt(
  root: string,
  folderPath: string,
): Promise<AdapterFolder | undefined> {
  try {
    const [top, directory] = await Promise.all([
      realpath(root),
      realpath(path.resolve(root, folderPath)),
    ]);
    if (!directory.startsWith(top + path.sep)) return undefined;
    const [config, weights] = await Promise.all([
      stat(path.join(directory, CONFIG_FILE), { bigint: true }),
      stat(path.join(directory, WEIGHTS_FILE), { bigint: true }).catch(() => undefined),
    ]);
    const files = weights ? [config, weights] : [config];
    return {
      directory,
      signature: files.map((f) => [f.ino, f.size, f.mtimeNs, f.ctimeNs].join(':')).join('|'),
      changedMs: largest(files.map((f) => Number(f.ctimeMs))),
      createdMs: Number(config.mtimeMs),
    };
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw new ServeError(
      'adapter_unavailable',
      'adapter unavailable: its folder cannot be read. Check that the server may read it.',
      {
        cause: error,
      },
    );
  }
}

/**
 * Returns an adapter's sampling defaults, from its manifest or from generation_config.json in its folder; undefined if there
 * are none. They are not part of the digest. Throws `ServeError` (`adapter_invalid`) that names the field.
 */
export async function readAdapterGenerationConfig(
  location: AdapterLocation,
): Promise<GenerationConfig | undefined> {
  if (location.kind === 'version') return location.manifest.generation_config;
  return readFolderGenerationConfig(location.directory);
}

/** Reads generation_config.json in a PEFT folder. Throws as `readAdapterGenerationConfig`. */
export function readFolderGenerationConfig(directory: string) {
  return orRefusal(readGenerationConfig(directory));
}

/** Returns an adapter's defaults for fields that a request leaves out, read as in `readAdapterGenerationConfig`. */
export async function readAdapterRequestDefaults(
  location: AdapterLocation,
): Promise<RequestDefaults | undefined> {
  if (location.kind === 'version') return location.manifest.request_defaults;
  return readFolderRequestDefaults(location.directory);
}

/** Reads request_defaults.json in a PEFT folder. Throws as `readAdapterGenerationConfig`. */
export function readFolderRequestDefaults(directory: string) {
  return orRefusal(readRequestDefaults(directory));
}

/** Reads about.json in a PEFT folder. Throws as `readAdapterGenerationConfig`. */
export function readFolderAbout(directory: string) {
  return orRefusal(readAbout(directory));
}

/** Returns the text about an adapter in its folder. If the file is invalid, the text says so: the adapter works without it. */
export function showFolderAbout(directory: string): Promise<AdapterAbout | undefined> {
  return readAbout(directory).catch(({ message }: Error) => ({
    ...NO_ABOUT,
    description: `The description cannot be read: ${message}`,
  }));
}

/** Returns the names of a classifier's classes, from its manifest or its configuration; undefined for other adapters. */
export async function readAdapterLabels(
  location: AdapterLocation,
): Promise<readonly string[] | undefined> {
  if (location.kind === 'version') return location.manifest.labels;
  return labelsOfConfig(openAdapterConfig(await readAdapterConfig(location.directory)).config);
}

/** How folders are read. */
export interface FolderOptions {
  /** Names of the served base. An adapter that names another base causes a warning in the log. */
  readonly baseNames: readonly string[];
  readonly log?: Logger;
  /** Returns Unix milliseconds. */
  readonly now?: () => number;
}

interface FolderContent {
  readonly digest: string;
  /** The largest rank of its modules. */
  readonly rank: number;
  /** The number of tokens in its vocabulary tables. Undefined: it has none. */
  readonly vocabSize: number | undefined;
}

/** A folder and its digest. */
export type FolderWithDigest = AdapterFolder & FolderContent;

/** Finds a folder in its present state; undefined if there is none. */
type FindFolder = () => Promise<AdapterFolder | undefined>;

/** Folders that are remembered. Beyond that, some are hashed again. */
const MAX_FOLDERS = 10_000;
/** Tries for a folder that changes while it is hashed. */
const MAX_TRIES = 3;
/**
 * Within one tick of the file system's clock (4 ms on Linux, 2 s on FAT), a second write may leave size and times unchanged.
 * The digest of a file younger than this therefore serves only the request that computed it.
 */
const SETTLING_MS = 2000;
/** Files that training scripts often save with an adapter. The base's files are used instead. */
const IGNORED_FILES = ['chat_template.jinja'];

interface KnownContent {
  readonly signature: string;
  /** Resolves with undefined if the files changed while they were read. Rejects with the refusal. */
  readonly content: Promise<FolderContent | undefined>;
  /** `final` is valid as long as the signature is. */
  state: 'pending' | 'provisional' | 'final';
}

interface KnownCheck {
  readonly signature: string;
  /** Resolves once the configuration and the header are read; rejects if they cannot be read now. */
  readonly read: Promise<void>;
  /** Resolves once the patterns are compiled. */
  patterns: Promise<void>;
  refusal: ServeError | undefined;
}

/** Remembers the content of folders by name. */
export class FolderContents {
  readonly #options: FolderOptions;
  readonly #contents = new LRUCache<string, KnownContent>(entryLimit(MAX_FOLDERS));
  readonly #checks = new LRUCache<string, KnownCheck>(entryLimit(MAX_FOLDERS));

  constructor(options: FolderOptions) {
    this.#options = options;
  }

  /**
   * Returns the folder from `find` with its digest; undefined if there is none. Throws `ServeError`: `adapter_invalid`, or
   * `adapter_unavailable` if the folder is being replaced.
   */
  async identify(name: string, find: FindFolder): Promise<FolderWithDigest | undefined> {
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      const folder = await find();
      if (!folder) return undefined;
      const content = await this.#contentOf(name, folder, find);
      if (content) return { ...folder, ...content };
    }
    throw new ServeError(
      'adapter_unavailable',
      'adapter unavailable: its files are being replaced. Try again.',
    );
  }

  /**
   * Returns why the folder cannot be served, judging by its configuration and the header of its weights, without hashing.
   * Patterns count only once they are compiled; `waitsForPatterns` waits for that.
   */
  async refusalOf(
    name: string,
    { directory, signature }: AdapterFolder,
    { waitsForPatterns = false } = {},
  ): Promise<ServeError | undefined> {
    const known = this.#checks.get(name);
    const check = known?.signature === signature ? known : startCheck(directory, signature);
    this.#checks.set(name, check);
    try {
      await check.read;
    } catch (error) {
      if (this.#checks.get(name) === check) this.#checks.delete(name); // it may be readable later
      if (error instanceof ServeError) return error;
      throw error;
    }
    if (waitsForPatterns) await check.patterns;
    return check.refusal;
  }

  #contentOf(
    name: string,
    folder: AdapterFolder,
    find: FindFolder,
  ): Promise<FolderContent | undefined> {
    const { log, now = Date.now } = this.#options;
    const { signature, changedMs } = folder;
    const known = this.#contents.get(name);
    const isSame = known?.signature === signature;
    if (isSame && known.state !== 'provisional') return known.content;
    const nextState = now() - changedMs > SETTLING_MS ? 'final' : 'provisional';
    const content = this.#read(name, folder, { find, log: isSame ? undefined : log });
    const entry: KnownContent = { signature, content, state: 'pending' };
    this.#contents.set(name, entry);
    content.then(
      (found) => {
        entry.state = found === undefined ? 'provisional' : nextState;
      },
      (error) => {
        entry.state = isRefusal(error) ? nextState : 'provisional';
      },
    );
    return content;
  }

  /** Hashes a folder that is new or has changed. */
  async #read(
    name: string,
    folder: AdapterFolder,
    { find, log }: { find: FindFolder; log: Logger | undefined },
  ): Promise<FolderContent | undefined> {
    try {
      const { digest, configBytes } = await digestAdapterFiles(folder.directory);
      const { rank, vocabSize } = await measureAdapterFiles(folder.directory);
      const { baseModel } = await parseAdapterConfig(configBytes, []);
      if ((await find())?.signature !== folder.signature) return undefined;
      this.#warnOfOtherBase(name, baseModel, log);
      const ignored = await ignoredFiles(folder.directory);
      if (ignored.length > 0) log?.warn({ adapter: name, ignored }, 'adapter ships files not used');
      return { digest, rank, vocabSize };
    } catch (error) {
      if ((await find())?.signature !== folder.signature) return undefined;
      log?.warn({ adapter: name, reason: (error as Error).message }, 'adapter refused');
      throw error;
    }
  }

  #warnOfOtherBase(name: string, baseModel: string | undefined, log: Logger | undefined) {
    const { baseNames } = this.#options;
    const trainedOn = lastPart(baseModel ?? '');
    const isKnown = (name: string) => isSameName(lastPart(name), trainedOn);
    if (trainedOn === undefined || baseNames.some(isKnown)) return;
    log?.warn({ adapter: name, trainedOn, base: baseNames[0] }, 'adapter names another base model');
  }
}

const lastPart = (name: string) => name.split(/[\\/]/).findLast((part) => part !== '');
/** The hub's spelling of a name has capitals, the name of an imported base has none. */
const isSameName = (one?: string, other?: string) => one?.toLowerCase() === other?.toLowerCase();

function startCheck(directory: string, signature: string): KnownCheck {
  const read = async () => {
    try {
      const { evaluatePatterns } = openAdapterConfig(await readAdapterConfig(directory));
      await measureAdapterFiles(directory);
      // Not awaited: a slow pattern takes a second, and they are compiled one after the other.
      check.patterns = evaluatePatterns([]).catch(noteRefusal);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      noteRefusal(error);
    }
  };
  const noteRefusal = (error: unknown) => {
    if (isRefusal(error)) check.refusal = error;
  };
  const check: KnownCheck = {
    signature,
    read: Promise.resolve().then(read),
    patterns: Promise.resolve(),
    refusal: undefined,
  };
  return check;
}

/** Tests each name, because listing the folder may take long. */
async function ignoredFiles(directory: string): Promise<string[]> {
  const isThere = await Promise.all(
    IGNORED_FILES.map((name) =>
      access(path.join(directory, name)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return IGNORED_FILES.filter((_, i) => isThere[i]);
}

function isRefusal(error: unknown): error is ServeError {
  return error instanceof ServeError && error.status === 422;
}
