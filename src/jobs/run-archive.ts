// Keeps a run's newest checkpoint in a store, so that another machine can continue the run. A save writes its files under new
// keys, and then one index that names them, so an interrupted save has no effect. A checkpoint that differs from what was saved
// counts as missing.

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
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { isDamage, type StoreCall } from '../../adapters/store/store.ts';
import { makeFolder } from '../common/folders.ts';
import { mapBounded } from '../common/map-bounded.ts';
import type { Clock } from '../common/waiting.ts';
import type { JobsContext } from './context.ts';
import { runPrefix } from './job-store.ts';
import type { RecordName } from './record-store.ts';
import { copyRun } from './run-copy.ts';
import { describeFiles, fetchFile, storedFileSchema } from './stored-files.ts';

/** A run has about a dozen files, and three snapshots with as many. */
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

/** The options of a call that can be aborted. */
type ArchiveCall = StoreCall & { readonly signal: AbortSignal };

type SaveCall = ArchiveCall & {
  /** The step of the newest published snapshot. Later snapshots are saved with the run. Absent: all are published. */
  readonly publishedStep?: number;
};

/** The archive of one run. */
export class RunArchive {
  readonly #store: GuardedStore;
  readonly #documents: DocumentStore;
  readonly #prefix: string;

  /** @param prefix of all keys, with a slash at the end @param clock default: the machine's */
  constructor(store: GuardedStore, prefix: string, clock?: Clock) {
    this.#store = store;
    this.#documents = { store, clock };
    this.#prefix = prefix;
  }

  /** Saves the newest checkpoint, unless the archive already has a newer one. The trainer may keep running. */
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

  /** Removes the whole archive, starting with the index. */
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
    const document = readDocument(this.#documents, this.#indexKey, INDEX_KIND, call);
    return (await ifSound(document))?.value;
  }

  /**
   * Writes the index unless a newer one exists, and removes the files that no index names any more. Two savers can overlap: the
   * old owner of a job may not have noticed yet that it lost the lease.
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
      if (!isDamage(error as Error)) throw error;
      await this.#store.delete(this.#indexKey, call);
      await swap();
    }
    if (!useless) return;
    const { save, files } = useless;
    await mapBounded(files, ({ name }) => this.#store.delete(this.#keyOf(save, name), call));
  }
}

/** Returns the archive of a job's run. */
export function archiveOf(job: RecordName, { store, clock }: Pick<JobsContext, 'store' | 'clock'>) {
  return new RunArchive(store, runPrefix(job), clock);
}
