// Keeps a run's newest checkpoint in a store, so another machine can continue the run. A save writes its files under new
// keys and then one index that names them: an interrupted save leads to nothing. A checkpoint that is not byte for byte
// what was saved counts as absent. Knows no jobs.
import { randomUUID } from 'node:crypto';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import {
  type DocumentStore,
  ifSound,
  readDocument,
  updateDocument,
} from '../../adapters/store/documents.ts';
import { isDamage, type ObjectStore, type StoreCall } from '../../adapters/store/store.ts';
import { makeFolder } from '../common/folders.ts';
import { mapBounded } from '../common/map-bounded.ts';
import type { Clock } from '../common/waiting.ts';
import { copyRun } from './run-copy.ts';
import { describeFiles, fetchFile, storedFileSchema } from './stored-files.ts';

/** A run has a dozen files, and as many in its three snapshots. */
const MAX_FILES = 100;

const indexSchema = z.object({
  schema: z.literal(1),
  /** The checkpoint's step. */
  step: z.int().min(0),
  /** The folder of this save's files. */
  save: z.uuid(),
  files: z.array(storedFileSchema).max(MAX_FILES),
});

type RunIndex = z.infer<typeof indexSchema>;

const INDEX_KIND = { schema: indexSchema, maxBytes: 64 * 1024 };

/** A call that can always be aborted. */
type ArchiveCall = StoreCall & { readonly signal: AbortSignal };

type SaveCall = ArchiveCall & {
  /** The step of the newest snapshot that is published. Later ones are saved with the run. Absent: all are published. */
  readonly publishedStep?: number;
};

/** The archive of one run. */
export class RunArchive {
  readonly #store: ObjectStore;
  readonly #documents: DocumentStore;
  readonly #prefix: string;

  /** @param prefix of all keys, with a slash at the end @param clock default: the machine's */
  constructor(store: ObjectStore, prefix: string, clock?: Clock) {
    this.#store = store;
    this.#documents = { store, clock };
    this.#prefix = prefix;
  }

  /** Saves the newest checkpoint, unless the archive has a newer one. The trainer may be at work meanwhile. */
  async save(
    runDir: string,
    { publishedStep = Number.POSITIVE_INFINITY, ...call }: SaveCall,
  ): Promise<void> {
    const copy = await mkdtemp(path.join(path.dirname(runDir), 'saving-'));
    try {
      const step = await copyRun(runDir, copy, publishedStep);
      const newest = await this.#readIndex(call);
      if (step === undefined || (newest && newest.step >= step)) return;
      const save = randomUUID();
      const files = await describeFiles(copy);
      await mapBounded(files, ({ name }) =>
        this.#store.put(this.#keyOf(save, name), { file: path.join(copy, name) }, call),
      );
      await this.#publish({ schema: 1, step, save, files }, call);
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
  }

  /** Creates `runDir` from the archive. Returns false if there is no checkpoint. */
  async restore(runDir: string, call: ArchiveCall): Promise<boolean> {
    const index = await this.#readIndex(call);
    if (!index) return false;
    await makeFolder(path.dirname(runDir));
    const building = await mkdtemp(`${runDir}.restoring-`);
    try {
      for (const file of index.files) {
        const key = this.#keyOf(index.save, file.name);
        const target = path.join(building, file.name);
        if (!(await fetchFile(this.#store, key, { file, target, call }))) return false;
      }
      await rm(runDir, { recursive: true, force: true });
      await rename(building, runDir);
      return true;
    } finally {
      await rm(building, { recursive: true, force: true });
    }
  }

  /** Removes everything, the index first. */
  async remove(): Promise<void> {
    await this.#store.delete(this.#indexKey);
    for await (const { key } of this.#store.list(this.#prefix)) await this.#store.delete(key);
  }

  get #indexKey(): string {
    return `${this.#prefix}newest.json`;
  }

  #keyOf(save: string, name: string): string {
    return `${this.#prefix}${save}/${name}`;
  }

  /** Returns undefined if the index is missing or damaged. */
  async #readIndex(call: StoreCall): Promise<RunIndex | undefined> {
    const found = readDocument(this.#documents, this.#indexKey, INDEX_KIND, call);
    return (await ifSound(found))?.value;
  }

  /**
   * Writes the index unless a newer one is there, and removes the files that no index names any more. Two savers can
   * overlap: the old owner of a job may not have noticed yet that it lost the lease.
   */
  async #publish(index: RunIndex, call: StoreCall): Promise<void> {
    let useless: RunIndex | undefined;
    const swap = () =>
      updateDocument(
        this.#documents,
        this.#indexKey,
        INDEX_KIND,
        (now) => {
          const isNewer = !now || index.step > now.step;
          useless = isNewer ? now : index;
          return isNewer ? index : now;
        },
        call,
      );
    try {
      await swap();
    } catch (error) {
      if (!isDamage(error)) throw error;
      await this.#store.delete(this.#indexKey, call);
      await swap();
    }
    if (!useless) return;
    const { save, files } = useless;
    await mapBounded(files, ({ name }) => this.#store.delete(this.#keyOf(save, name), call));
  }
}
