// What a pod's trainer has said, out of the store and in order, with the files that it speaks of on this machine.
// Whatever has a path in it comes with files of its own here: a pod names no path of the server's.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { StoreCall } from '../../adapters/store/store.ts';
import { mapBounded } from '../common/map-bounded.ts';
import type { TrainerMessage } from '../contracts/training.ts';
import { fetchFile } from '../jobs/stored-files.ts';
import { type Attempt, type Batch, PATH_KEYS, type Told } from './attempt.ts';

export interface HeardMessage {
  readonly message: TrainerMessage;
  /** When it has been dealt with: what it speaks of is not needed any more. */
  forget(): Promise<void>;
}

export class MessageReader {
  readonly #attempt: Attempt;
  readonly #dir: string;
  #number = 0;

  /** @param dir for the messages' files */
  constructor(attempt: Attempt, dir: string) {
    this.#attempt = attempt;
    this.#dir = dir;
  }

  /** Of the batch that was read last. */
  get number(): number {
    return this.#number;
  }

  /** The next batch; undefined: not yet. */
  async next(call: StoreCall): Promise<Batch | undefined> {
    const batch = await this.#attempt.readBatch(this.#number + 1, call);
    if (batch) this.#number++;
    return batch;
  }

  /** Undefined where its files are not there (any more), or are not what was put. */
  async bring({ message, files = {} }: Told, call: StoreCall): Promise<HeardMessage | undefined> {
    const folders: string[] = [];
    const own: Record<string, unknown> = { ...message };
    for (const key of PATH_KEYS) {
      if (!(key in message)) continue;
      const stored = files[key];
      if (!stored || stored.files.length === 0) return undefined;
      const dir = path.join(this.#dir, stored.folder);
      await mkdir(dir, { recursive: true });
      const isThere = await mapBounded(stored.files, (file) => {
        const target = path.join(dir, file.name);
        const from = this.#attempt.fileKey(stored.folder, file.name);
        return fetchFile(this.#attempt.store, from, { file, target, call });
      });
      if (isThere.includes(false)) return undefined;
      own[key] = key === 'directory' ? dir : path.join(dir, stored.files[0]!.name);
      folders.push(stored.folder);
    }
    return {
      message: own as unknown as TrainerMessage,
      forget: () => this.#forget(files, folders),
    };
  }

  async #forget(files: NonNullable<Told['files']>, folders: readonly string[]): Promise<void> {
    const { store } = this.#attempt;
    for (const { folder, files: stored } of Object.values(files)) {
      await mapBounded(stored, ({ name }) => store.delete(this.#attempt.fileKey(folder, name)));
    }
    for (const folder of folders) {
      await rm(path.join(this.#dir, folder), { recursive: true, force: true });
    }
  }
}
