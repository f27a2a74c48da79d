// Records in a guarded store: JSON objects that change by compare-and-swap, with errors that clients may see. Each write
// leaves its own mark, so a write whose answer was lost is told apart from an equal one. Knows no jobs.
import { randomUUID } from 'node:crypto';
import { ServeError } from '../../src/common/errors.ts';
import type { Clock } from '../../src/common/waiting.ts';
import {
  createDocument,
  type DocumentKind,
  type DocumentStore,
  readDocument,
  updateDocument,
} from './documents.ts';
import { isDamage, type ObjectStore, type StoreCall } from './store.ts';

/** The part that every record has. */
export interface Marked {
  /** The UUID of the write that made the record what it is. */
  readonly mark: string;
}

/** A record to be written. */
export type Unmarked<T extends Marked> = Omit<T, 'mark'>;

/** Records of one kind. Methods throw `ServeError`: the store's, or `object_damaged`. */
export class Records<T extends Marked> {
  readonly #documents: DocumentStore;
  readonly #kind: DocumentKind<T>;

  /** @param store guarded @param clock default: the machine's */
  constructor(store: ObjectStore, kind: DocumentKind<T>, clock?: Clock) {
    this.#documents = { store, clock };
    this.#kind = kind;
  }

  /** Returns undefined if there is no record. */
  async read(key: string, call?: StoreCall): Promise<T | undefined> {
    const found = await readDocument(this.#documents, key, this.#kind, call).catch(refuse);
    return found?.value;
  }

  /** Creates a record. Returns the record under this key: the new one, or the one that was there before. */
  async create(
    key: string,
    value: Unmarked<T>,
    call?: StoreCall,
  ): Promise<{ readonly value: T; readonly isNew: boolean }> {
    const record = marked<T>(value);
    const kept = await createDocument(this.#documents, key, this.#kind, record, call).catch(refuse);
    return { value: kept, isNew: kept.mark === record.mark };
  }

  /**
   * Applies a change to the newest state, again after each conflict. A change that returns undefined leaves the record as
   * it is. Returns the state afterwards, or undefined if there is no record. Throws what the change throws.
   */
  change(
    key: string,
    change: (now: T) => Unmarked<T> | undefined | Promise<Unmarked<T> | undefined>,
    call?: StoreCall,
  ): Promise<T | undefined> {
    const next = async (now: T | undefined) => {
      const changed = now && (await change(now));
      return changed ? marked<T>(changed) : now;
    };
    return updateDocument(this.#documents, key, this.#kind, next, call).catch(refuse);
  }
}

function marked<T extends Marked>(value: Unmarked<T>): T {
  return { ...value, mark: randomUUID() } as unknown as T;
}

/** Whether a method of `Records` threw this because the record is damaged. */
export const isDamaged = (error: unknown): boolean =>
  error instanceof ServeError && isDamage(error.cause);

function refuse(error: unknown): never {
  if (!isDamage(error)) throw error;
  const message = 'The object is damaged in the store. Trying again does not help.';
  throw new ServeError('object_damaged', message, { cause: error });
}
