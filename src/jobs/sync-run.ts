// A run's newest checkpoint in a store, so that another machine can go on with it. One save is a set of objects under
// names of its own and, last, the one object that leads to them: a save that was cut off leads to nothing, and whatever
// is not byte for byte what was saved counts as absent. Knows no jobs and nothing of what is inside the files.
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { readBody, serializeDocument } from '../../adapters/store/documents.ts';
import {
  type Etag,
  type ObjectStore,
  type StoreCall,
  StoreError,
} from '../../adapters/store/store.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { parseShallowJson } from '../common/shallow-json.ts';
import { copyRun } from './run-folder.ts';
import type { RunArchive } from './runner.ts';
import { describeFiles, fetchFile, storedFileSchema } from './stored-files.ts';

/** A run leaves a dozen files. */
const MAX_FILES = 100;
const MAX_INDEX_BYTES = 64 * 1024;
/** Of savers that meet: one that is about to notice that the job is not its any more. */
const MAX_TRIES = 10;

const indexSchema = z.object({
  schema: z.literal(1),
  /** Of the checkpoint. */
  step: z.int().min(0),
  /** The folder of this save's objects. */
  save: z.uuid(),
  files: z.array(storedFileSchema).max(MAX_FILES),
});

type RunIndex = z.infer<typeof indexSchema>;

interface FoundIndex {
  readonly value: RunIndex | undefined;
  readonly etag: Etag;
}

/** @param prefix of all its keys, with a slash at its end */
export function createRunArchive(store: ObjectStore, prefix: string): RunArchive {
  return new StoredRun(store, prefix);
}

class StoredRun implements RunArchive {
  readonly #store: ObjectStore;
  readonly #prefix: string;

  constructor(store: ObjectStore, prefix: string) {
    this.#store = store;
    this.#prefix = prefix;
  }

  async save(runDir: string, call: { readonly signal: AbortSignal }): Promise<void> {
    const stage = await mkdtemp(path.join(path.dirname(runDir), 'saving-'));
    try {
      const step = await copyRun(runDir, stage);
      const found = await this.#readIndex(call);
      if (step === undefined || !isNewer(step, found)) return;
      const save = randomUUID();
      const files = await describeFiles(stage);
      await mapBounded(files, ({ name }) =>
        this.#store.put(this.#keyOf(save, name), { file: path.join(stage, name) }, call),
      );
      await this.#lead({ schema: 1, step, save, files }, call);
    } finally {
      await rm(stage, { recursive: true, force: true });
    }
  }

  async restore(runDir: string, call: { readonly signal: AbortSignal }): Promise<boolean> {
    const index = (await this.#readIndex(call))?.value;
    if (!index) return false;
    await mkdir(path.dirname(runDir), { recursive: true });
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

  /** What leads to the others first. */
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

  /** Swaps the index in, unless a newer one is there; then the files of the one before, or its own, are of no use. */
  async #lead(index: RunIndex, call: StoreCall): Promise<void> {
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const found = await this.#readIndex(call);
      if (found?.value?.save === index.save) return; // written, though its answer was lost
      if (!isNewer(index.step, found)) return this.#removeFiles(index, call);
      const condition = found ? { ifMatch: found.etag } : { ifAbsent: true as const };
      try {
        await this.#store.put(this.#indexKey, serializeDocument(index), { ...condition, ...call });
        if (found?.value) await this.#removeFiles(found.value, call);
        return;
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== 'conflict') throw error;
      }
    }
    await this.#removeFiles(index, call);
  }

  async #removeFiles({ save, files }: RunIndex, call: StoreCall): Promise<void> {
    await mapBounded(files, ({ name }) => this.#store.delete(this.#keyOf(save, name), call));
  }

  async #readIndex(call: StoreCall): Promise<FoundIndex | undefined> {
    const object = await this.#store.get(this.#indexKey, call);
    if (!object) return undefined;
    const bytes = await readBody(object.body, MAX_INDEX_BYTES);
    return { value: parseIndex(bytes), etag: object.etag };
  }
}

/** One that is damaged leads nowhere, so that any is newer. */
function isNewer(step: number, found: FoundIndex | undefined): boolean {
  return found?.value === undefined || step > found.value.step;
}

function parseIndex(bytes: Uint8Array | undefined): RunIndex | undefined {
  try {
    return indexSchema.parse(parseShallowJson(bytes ?? new Uint8Array()));
  } catch {
    return undefined;
  }
}
