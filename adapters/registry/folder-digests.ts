// Which content an adapter folder has, remembered for as long as its files do not change. Hashing is shared by whoever
// asks at once, and what its owner may want to know is said once in the log. It knows no tenants and no requests.
import { access } from 'node:fs/promises';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { digestAdapterFiles, measureAdapterFiles, readAdapterConfig } from '../peft/files.ts';
import { openAdapterConfig, parseAdapterConfig } from '../peft/peft-config.ts';
import type { AdapterFolder } from './folders.ts';

export interface FolderDigestsOptions {
  /** Names of the base that is served: an adapter that names another is warned of. */
  readonly baseNames: readonly string[];
  readonly log?: Logger;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

/** What is known of a folder's content once it was read. */
interface FolderContent {
  readonly digest: string;
  /** The largest of its modules. */
  readonly rank: number;
}

export type FolderWithDigest = AdapterFolder & FolderContent;

export interface FolderDigests {
  /**
   * The folder that `look` finds, with its digest; undefined where it finds none. Throws `ServeError`:
   * `adapter_invalid`, or `adapter_unavailable` where the folder is being replaced.
   */
  identify(
    name: string,
    look: () => Promise<AdapterFolder | undefined>,
  ): Promise<FolderWithDigest | undefined>;
  /**
   * Why the folder cannot be served, as far as its configuration and the header of its weights tell: nothing is hashed.
   * Remembered for as long as its files do not change. A pattern that is still being compiled is no reason yet.
   */
  refusalOf(name: string, folder: AdapterFolder): Promise<ServeError | undefined>;
}

/** Reads the configuration, its patterns included, and the header of the weights. */
export async function findRefusal(directory: string): Promise<ServeError | undefined> {
  try {
    await parseAdapterConfig(await readAdapterConfig(directory), []);
    await measureAdapterFiles(directory);
    return undefined;
  } catch (error) {
    if (error instanceof ServeError) return error;
    throw error;
  }
}

/** Folders that are remembered; more are served, and hashed again when they were forgotten. */
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
  /** Undefined if the files changed meanwhile; rejects with the refusal. */
  readonly content: Promise<FolderContent | undefined>;
  /** `final` holds as long as the signature does. */
  state: 'pending' | 'provisional' | 'final';
}

interface Looked {
  readonly signature: string;
  /** Set later if only a pattern is at fault. */
  refusal: ServeError | undefined;
}

type Look = () => Promise<AdapterFolder | undefined>;

export function createFolderDigests({
  baseNames,
  log,
  now = Date.now,
}: FolderDigestsOptions): FolderDigests {
  const known = new LRUCache<string, Known>({ max: MAX_FOLDERS });
  const looked = new LRUCache<string, Looked>({ max: MAX_FOLDERS });

  function contentOf(
    name: string,
    folder: AdapterFolder,
    look: Look,
  ): Promise<FolderContent | undefined> {
    const { signature, changedMs } = folder;
    const remembered = known.get(name);
    const isSame = remembered?.signature === signature;
    if (isSame && remembered.state !== 'provisional') return remembered.content;
    const settledState = now() - changedMs > SETTLING_MS ? 'final' : 'provisional';
    const content = inspect(name, folder, { look, log: isSame ? undefined : log });
    const entry: Known = { signature, content, state: 'pending' };
    known.set(name, entry);
    content.then(
      (found) => {
        entry.state = found === undefined ? 'provisional' : settledState;
      },
      (error) => {
        entry.state = isRefusal(error) ? settledState : 'provisional';
      },
    );
    return content;
  }

  /** Hashes a folder that is new or has changed. */
  async function inspect(
    name: string,
    folder: AdapterFolder,
    { look, log }: { look: Look; log: Logger | undefined },
  ): Promise<FolderContent | undefined> {
    try {
      const { digest, configBytes } = await digestAdapterFiles(folder.directory);
      const { rank } = await measureAdapterFiles(folder.directory);
      const { baseModel } = await parseAdapterConfig(configBytes, []);
      if ((await look())?.signature !== folder.signature) return undefined;
      warnOfOtherBase(name, baseModel, log);
      const ignored = await ignoredFiles(folder.directory);
      if (ignored.length > 0) log?.warn({ adapter: name, ignored }, 'adapter ships files not used');
      return { digest, rank };
    } catch (error) {
      if ((await look())?.signature !== folder.signature) return undefined;
      log?.warn({ adapter: name, reason: (error as Error).message }, 'adapter refused');
      throw error;
    }
  }

  function warnOfOtherBase(name: string, baseModel: string | undefined, log: Logger | undefined) {
    const trainedOn = baseModel?.split(/[\\/]/).findLast((part) => part !== '');
    if (trainedOn === undefined || baseNames.includes(trainedOn)) return;
    log?.warn({ adapter: name, trainedOn, base: baseNames[0] }, 'adapter names another base model');
  }

  return {
    async refusalOf(name, { directory, signature }) {
      const before = looked.get(name);
      if (before?.signature === signature) return before.refusal;
      const entry: Looked = { signature, refusal: undefined };
      try {
        const { evaluatePatterns } = openAdapterConfig(await readAdapterConfig(directory));
        await measureAdapterFiles(directory);
        // Not awaited: slow ones take a second each, one after the other.
        evaluatePatterns([]).catch((error) => {
          if (isRefusal(error)) entry.refusal = error;
        });
      } catch (error) {
        if (!(error instanceof ServeError)) throw error;
        if (!isRefusal(error)) return error; // it may be another time
        entry.refusal = error;
      }
      looked.set(name, entry);
      return entry.refusal;
    },

    async identify(name, look) {
      for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
        const folder = await look();
        if (!folder) return undefined;
        const content = await contentOf(name, folder, look);
        if (content) return { ...folder, ...content };
      }
      throw new ServeError('adapter_unavailable', 'adapter unavailable: it is being replaced');
    },
  };
}

/** Asks for each of them: a list of the folder may be long. */
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
