// Records of long work in the store, such as jobs and batches: one record each, changed by compare-and-swap, and a mark per
// unfinished one, through which servers find work. Makes no decisions about the work.

import { type DocumentKind, Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { isDamage, listFolders, type StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type Clock, systemClock } from '../common/waiting.ts';

/** Identifies a record in the store. */
export interface RecordName {
  readonly tenant: string;
  readonly id: string;
}

/** The part of a record that leases use. */
export interface LeasedRecord extends RecordName {
  readonly status: string;
  /** The number of the newest lease. Numbers are never reused. */
  readonly token: number;
  /** The server that works on it. It increments `beat` as long as it is alive. */
  readonly lease?:
    | { readonly owner: string; readonly token: number; readonly beat: number }
    | undefined;
}

/** Where records of one kind are, and what clients call them. */
export interface RecordKind<R> extends Pick<DocumentKind<R>, 'schema' | 'maxBytes'> {
  /** The folder below a tenant's prefix that contains a folder per record. */
  readonly folder: string;
  /** The record's name in its folder. */
  readonly file: string;
  /** The prefix of the marks. */
  readonly marks: string;
  /** Matches ids that are safe to use in a key. */
  readonly idPattern: RegExp;
  /** The beginning of the message for an unknown id, and the parameter that it names. */
  readonly unknown: { readonly message: string; readonly param: string };
}

/** The longest time between writing a mark and its record. An older mark without a record is left over from a failure. */
const MAX_CREATION_MS = 3_600_000;

/** The records of all tenants. Methods throw the guarded store's errors. */
export class RecordStore<R extends LeasedRecord> {
  protected readonly store: GuardedStore;
  readonly #kind: RecordKind<R>;
  readonly #records: Records<R>;
  readonly #clock: Clock;
  /** When this process first saw a mark without a record. Uses this machine's clock: the store's may differ by hours. */
  readonly #recordless = new Map<string, number>();

  constructor(store: GuardedStore, kind: RecordKind<R>, clock: Clock = systemClock) {
    this.store = store;
    this.#kind = kind;
    this.#clock = clock;
    this.#records = new Records(store, kind, clock);
  }

  /** The prefix of everything that belongs to a record. */
  folderOf({ tenant, id }: RecordName): string {
    return `${tenant}/${this.#kind.folder}/${id}/`;
  }

  /**
   * Creates a record, or returns the existing one with this id. Writes the mark before the record, so that servers cannot
   * overlook it.
   */
  async create(record: R): Promise<R> {
    await this.store.put(this.#markKey(record), new Uint8Array());
    return (await this.#records.create(this.#keyOf(record), record)).value;
  }

  /** Returns a record, or undefined if there is none. */
  async find(name: RecordName, call?: StoreCall): Promise<R | undefined> {
    return this.#isId(name.id) ? this.#records.read(this.#keyOf(name), call) : undefined;
  }

  /** Returns a record. Throws `ServeError` (404) if it is unknown or another tenant's. */
  async get(name: RecordName): Promise<R> {
    return (await this.find(name)) ?? this.#notFound(name.id);
  }

  /** Changes a record like `Records.change`. Throws `ServeError` (404) if it is unknown. */
  async change(name: RecordName, change: (now: R) => R | undefined): Promise<R> {
    if (!this.#isId(name.id)) this.#notFound(name.id);
    const changed = await this.#records.change(this.#keyOf(name), async (now) => {
      const next = change(now);
      return next && this.beforeWrite(now, next);
    });
    return changed ?? this.#notFound(name.id);
  }

  /** Called before a changed record is written. Returns the state to write. */
  protected async beforeWrite(_now: R, next: R): Promise<R> {
    return next;
  }

  /** Lists the ids of a tenant's records, newest first. */
  async ids(tenant: string): Promise<string[]> {
    const { folder, idPattern } = this.#kind;
    return (await listFolders(this.store, `${tenant}/${folder}/`, idPattern)).reverse();
  }

  /**
   * Lists all tenants' marked records, oldest first. Removes marks without a record. Leaves out damaged records and reports
   * them to `onDamaged`.
   */
  async active(onDamaged: (name: RecordName, error: unknown) => void = () => {}): Promise<R[]> {
    const marks = await this.#openMarks();
    const records = await mapBounded(marks, async (mark): Promise<R | 'damaged' | undefined> => {
      try {
        return await this.find(mark);
      } catch (error) {
        if (!isDamage(error as Error)) throw error;
        onDamaged(mark, error);
        return 'damaged';
      }
    });
    await this.#removeRecordless(marks.filter((_, i) => records[i] === undefined));
    return records.filter((record): record is R => record !== undefined && record !== 'damaged');
  }

  async #removeRecordless(marks: readonly RecordName[]): Promise<void> {
    const nowMs = this.#clock.now();
    const ids = new Set(marks.map(({ id }) => id));
    for (const id of this.#recordless.keys()) if (!ids.has(id)) this.#recordless.delete(id);
    for (const mark of marks) {
      const sinceMs = this.#recordless.get(mark.id) ?? nowMs;
      this.#recordless.set(mark.id, sinceMs);
      if (nowMs - sinceMs > MAX_CREATION_MS) await this.removeMark(mark);
    }
  }

  /** Counts a tenant's unfinished records. */
  async countActive(tenant: string): Promise<number> {
    return (await this.#openMarks()).filter((mark) => mark.tenant === tenant).length;
  }

  /** Returns the ids of all unfinished records. */
  async activeIds(): Promise<Set<string>> {
    return new Set((await this.#openMarks()).map(({ id }) => id));
  }

  async #openMarks(): Promise<RecordName[]> {
    const { marks: prefix } = this.#kind;
    const marks: RecordName[] = [];
    for await (const entry of this.store.list(prefix)) {
      const [, id, tenant] = /^([^.]+)\.(.+)$/.exec(entry.key.slice(prefix.length)) ?? [];
      if (entry.kind !== 'object' || !id || !tenant) continue;
      marks.push({ id, tenant });
    }
    return marks;
  }

  /** Removes the mark of a record that needs no more work. */
  async removeMark(name: RecordName): Promise<void> {
    await this.store.delete(this.#markKey(name));
  }

  #keyOf(name: RecordName): string {
    return `${this.folderOf(name)}${this.#kind.file}`;
  }

  #markKey({ tenant, id }: RecordName): string {
    return `${this.#kind.marks}${id}.${tenant}`;
  }

  #isId(id: string): boolean {
    return this.#kind.idPattern.test(id);
  }

  #notFound(id: string): never {
    const { message, param } = this.#kind.unknown;
    const shown = this.#isId(id) ? id : JSON.stringify(id.slice(0, 40));
    throw new ServeError('not_found', `${message}: ${shown}`, { param });
  }
}
