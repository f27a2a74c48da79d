// Keeps a run's newest checkpoint in a store, so that another machine can continue the run. A save writes its files under new
// keys, and then one index that names them, so an interrupted save has no effect. A checkpoint that differs from what was saved
// counts as missing.

import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  copyFile,
  link,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
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
import { parseShallowJson } from '../common/json-scan.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { hashFile, loadRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import type { Clock } from '../common/waiting.ts';
import { isWholeCheckpoint, listSteps, RUN_FILES, stepFolder } from '../contracts/run-folder.ts';
import type { JobsContext } from './context.ts';
import { runPrefix } from './job-store.ts';
import type { RecordName } from './record-store.ts';
import type { TrainerJob } from './runner.ts';

// Stores local files as objects: hashes them, and restores them byte for byte or not at all.

/** Allows two levels of folders, and no path that leads out of them. */
const FILE_NAME = /^(?:[\w-][\w.-]*\/){0,2}[\w-][\w.-]*$/;

/** A file's name, hash and size. */
export const storedFileSchema = z.object({
  /** The path within its folder. */
  name: z.string().regex(FILE_NAME),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  byteSize: z.int().min(0),
});

/** A file together with its object. */
export type StoredFile = z.infer<typeof storedFileSchema>;

/** Describes one file, or all files of a folder. */
export async function describePath(local: string): Promise<{ root: string; files: StoredFile[] }> {
  if ((await stat(local)).isDirectory()) return { root: local, files: await describeFiles(local) };
  const { dir, base } = path.parse(local);
  return { root: dir, files: [{ name: base, ...(await hashFile(local)) }] };
}

async function describeFiles(dir: string): Promise<StoredFile[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)));
  return mapBounded(files, async (name) => ({ name, ...(await hashFile(path.join(dir, name))) }));
}

/** Writes the object to a file. Returns false if the object is missing or differs from what was stored. */
export async function fetchFile(
  store: GuardedStore,
  key: string,
  { file, target, call }: { file: StoredFile; target: string; call: StoreCall },
): Promise<boolean> {
  const object = await store.get(key, call);
  if (!object) return false;
  if (object.byteSize !== file.byteSize) {
    for await (const _ of object.body) break; // frees the connection
    return false;
  }
  await makeFolder(path.dirname(target));
  const output = await open(target, 'w');
  const hash = createHash('sha256');
  try {
    for await (const chunk of object.body) {
      hash.update(chunk);
      await output.writeFile(chunk);
    }
    await output.sync();
  } finally {
    await output.close();
  }
  return hash.digest('hex') === file.sha256;
}

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

// Copies a run folder while its trainer writes to it, and prepares a copied folder so that a trainer on this machine can resume
// it.

const JOB_PATH_KEYS = ['model', 'data', 'validation', 'initAdapter'] as const;
/** The job, metrics and events, without the lock, plots and unfinished files. */
const COPIED_FILE = /^[\w-]+\.(?:json|jsonl|csv)$/;
/** How long the trainer takes to replace the adapter. */
const REPLACING_MS = 20;
const MAX_ADAPTER_TRIES = 10;

/** Whether the folder holds a run that the trainer can continue. */
export function holdsRun(runDir: string): boolean {
  return existsSync(path.join(runDir, RUN_FILES.job));
}

/** Replaces the paths in a run folder from another machine. The result of a run does not depend on paths. */
export async function relocateRun(runDir: string, job: TrainerJob): Promise<void> {
  const file = path.join(runDir, RUN_FILES.job);
  const bytes = await loadRegular(file, SMALL_FILE_BYTES);
  const stored = parseShallowJson(bytes) as Record<string, unknown>;
  for (const key of JOB_PATH_KEYS) if (key in stored) stored[key] = job[key];
  await writeFile(`${file}.tmp`, `${JSON.stringify(stored, null, 2)}\n`, { flush: true });
  await rename(`${file}.tmp`, file);
}

/**
 * Copies what is needed to continue the run into `target`, while its trainer runs. Copies the checkpoint first: a resumed run
 * rewrites everything that the trainer wrote after it. A resumed run does not repeat earlier snapshots, so unpublished ones are
 * copied as well.
 * @param publishedStep the newest published snapshot's
 * @returns the checkpoint's step, or undefined if there is no checkpoint
 */
async function copyRun(
  runDir: string,
  target: string,
  publishedStep: number,
): Promise<number | undefined> {
  for (const step of (await listSteps(path.join(runDir, RUN_FILES.checkpoints))).reverse()) {
    const folder = stepFolder(RUN_FILES.checkpoints, step);
    if (!(await copyCheckpoint(path.join(runDir, folder), path.join(target, folder)))) continue;
    for (const name of await readdir(runDir)) {
      if (COPIED_FILE.test(name)) await copyFile(path.join(runDir, name), path.join(target, name));
    }
    await copyAdapter(runDir, target);
    for (const snapshotStep of await listSteps(path.join(runDir, RUN_FILES.snapshots))) {
      if (snapshotStep <= publishedStep || snapshotStep > step) continue;
      const snapshot = stepFolder(RUN_FILES.snapshots, snapshotStep);
      // The trainer may be removing it because newer ones exist. Then it is no longer needed.
      await linkFolder(path.join(runDir, snapshot), path.join(target, snapshot));
    }
    return step;
  }
  return undefined;
}

/** Returns whether the copy is complete. The trainer may be removing the checkpoint because newer ones exist. */
async function copyCheckpoint(from: string, to: string): Promise<boolean> {
  if (!(await linkFolder(from, to))) return false;
  if (await isWholeCheckpoint(to)) return true;
  await rm(to, { recursive: true, force: true });
  return false;
}

/** Copies the best adapter so far, if there is one. It is missing briefly while the trainer replaces it. */
async function copyAdapter(runDir: string, to: string): Promise<void> {
  const target = path.join(to, RUN_FILES.adapter);
  for (let attempt = 1; attempt <= MAX_ADAPTER_TRIES; attempt++) {
    const names = await readdir(runDir);
    if (!names.some((name) => name.startsWith(RUN_FILES.adapter))) return;
    if (await linkFolder(path.join(runDir, RUN_FILES.adapter), target)) return;
    await setTimeout(REPLACING_MS);
  }
}

/**
 * Links the files of a folder, which suffices because the trainer replaces folders and never changes their files. Returns false,
 * and leaves nothing, if one is missing.
 */
async function linkFolder(from: string, to: string): Promise<boolean> {
  await makeFolder(to);
  try {
    for (const name of await readdir(from)) {
      const [file, linked] = [path.join(from, name), path.join(to, name)];
      await link(file, linked).catch((error) => {
        if (isMissing(error)) throw error;
        return copyFile(file, linked); // some file systems do not support links
      });
    }
    return true;
  } catch (error) {
    if (!isMissing(error)) throw error;
    await rm(to, { recursive: true, force: true });
    return false;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** Returns the archive of a job's run. */
export function archiveOf(job: RecordName, { store, clock }: Pick<JobsContext, 'store' | 'clock'>) {
  return new RunArchive(store, runPrefix(job), clock);
}
