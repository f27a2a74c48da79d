// Records of long work in the store, such as jobs and batches: one record each, changed by compare-and-swap, and a mark per
// unfinished one, through which servers find work and see who is alive. Makes no decisions about the work.

import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type DocumentKind, Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { type Etag, isDamage, listFolders, type StoreCall } from '../../adapters/store/store.ts';
import { entryLimit } from '../common/entry-limit.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type Page, type PageQuery, unknownAfter } from '../common/page.ts';
import { type Clock, systemClock } from '../common/waiting.ts';
import { readPage } from './files.ts';

/** Identifies a record in the store. */
export interface RecordName {
  readonly tenant: string;
  readonly id: string;
}

/** Unfinished work as a list shows it: without a read, others see its state and whether its lease holder is alive. */
export interface OpenMark extends RecordName {
  /** Changes when the state changes, and every few seconds while the record is leased. */
  readonly etag: Etag;
  /** Undefined if the mark does not tell. It may be older than the record. */
  readonly state: MarkedState | undefined;
}

/** The part of a record that its mark shows. */
interface MarkedState {
  readonly status: string;
  readonly isLeased: boolean;
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
  /** All statuses. A mark shows the index of one, so new ones go to the end. */
  readonly statuses: readonly string[];
  /** Matches ids that are safe to use in a key. */
  readonly idPattern: RegExp;
  /** The name of the records in messages. */
  readonly plural: string;
  /** The beginning of the message for an unknown id, and the parameter that it names. */
  readonly unknown: { readonly message: string; readonly param: string };
}

/** The longest time between writing a mark and its record. An older mark without a record is left over from a failure. */
const MAX_CREATION_MS = 3_600_000;
/** A job or a batch takes minutes, so retrying sooner is useless. */
const RETRY_S = 60;
/** Far more records than a process changes between two renewals, 100 bytes each. */
const MAX_MARKED = 10_000;
/** How often a lease holder renews its mark at most. It renews its lease every three seconds. */
const MARK_RENEWAL_MS = 2_500;
/** A mark without a state is shorter. */
const MIN_MARK_BYTES = 64;

/** If a mark has not changed for so long, its lease holder may be gone. */
export const MARK_QUIET_MS = 10_000;

/** The records of all tenants. Methods throw the guarded store's errors. */
export class RecordStore<R extends LeasedRecord> {
  protected readonly store: GuardedStore;
  readonly #kind: RecordKind<R>;
  readonly #records: Records<R>;
  readonly #clock: Clock;
  /** When this process first saw a mark without a record. Uses this machine's clock: the store's may differ by hours. */
  readonly #recordless = new Map<string, number>();
  /** Record → the mark that this process wrote last. */
  readonly #marked = new LRUCache<string, { readonly code: number; readonly atMs: number }>(
    entryLimit(MAX_MARKED),
  );
  /** The last creation of each tenant. The next one waits for it, and counts its record. */
  readonly #creations = new Map<string, Promise<R>>();

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
    await this.store.put(this.#markKey(record), this.#markOf(record));
    return (await this.#records.create(this.#keyOf(record), record)).value;
  }

  /**
   * Creates a record. Throws `ServeError` if its tenant has `limit` unfinished ones. Other servers may each see room for one
   * more.
   */
  async createBelow(limit: number, record: R): Promise<R> {
    const { tenant } = record;
    const last = this.#creations.get(tenant);
    const creation = (async () => {
      await last?.catch(() => {});
      await this.refuseFrom(limit, tenant);
      return this.create(record);
    })();
    this.#creations.set(tenant, creation);
    try {
      return await creation;
    } finally {
      if (this.#creations.get(tenant) === creation) this.#creations.delete(tenant);
    }
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
    if (!changed) return this.#notFound(name.id);
    await this.#renewMark(changed);
    return changed;
  }

  /** Shows a record's state in its mark if it has changed, or if the record is leased and the mark is old. */
  async #renewMark(record: R): Promise<void> {
    const nowMs = this.#clock.now();
    const code = this.#stateCode(record);
    const last = this.#marked.get(record.id);
    if (last?.code === code && (!record.lease || nowMs - last.atMs < MARK_RENEWAL_MS)) return;
    this.#marked.set(record.id, { code, atMs: nowMs });
    const mark = this.#markOf(record);
    // Others then read the record, as they do if a mark is old.
    await this.store.put(this.#markKey(record), mark).catch(() => this.#marked.delete(record.id));
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
   * Lists a tenant's records, newest first. Leaves out damaged ones, and those that are not accepted. Throws `ServeError` (400)
   * if there is no record `after`.
   */
  async page(
    tenant: string,
    { after, limit }: PageQuery,
    accepts: (record: R) => boolean = () => true,
  ): Promise<Page<R>> {
    const all = await this.ids(tenant);
    if (after !== undefined && !all.includes(after)) throw unknownAfter();
    const ids = after === undefined ? all : all.slice(all.indexOf(after) + 1);
    return readPage(ids, limit, async (id) => {
      const record = await this.find({ tenant, id });
      return record && accepts(record) ? record : undefined;
    });
  }

  /**
   * Reads the records of marks. Removes marks without a record. Leaves out damaged records and reports them to `onDamaged`.
   */
  async readMarked(
    marks: readonly RecordName[],
    onDamaged: (name: RecordName, error: unknown) => void = () => {},
  ): Promise<R[]> {
    const records = await mapBounded(marks, async (mark): Promise<R | 'damaged' | undefined> => {
      try {
        return await this.find(mark);
      } catch (error) {
        if (!isDamage(error as Error)) throw error;
        onDamaged(mark, error);
        return 'damaged';
      }
    });
    for (const [i, mark] of marks.entries()) {
      if (records[i] === undefined) await this.#foundRecordless(mark);
      else this.#recordless.delete(mark.id);
    }
    return records.filter((record): record is R => record !== undefined && record !== 'damaged');
  }

  async #foundRecordless(mark: RecordName): Promise<void> {
    const nowMs = this.#clock.now();
    const sinceMs = this.#recordless.get(mark.id) ?? nowMs;
    this.#recordless.set(mark.id, sinceMs);
    if (nowMs - sinceMs <= MAX_CREATION_MS) return;
    await this.removeMark(mark);
    this.#recordless.delete(mark.id);
  }

  /** Counts a tenant's unfinished records. */
  async countActive(tenant: string): Promise<number> {
    return (await this.marks()).filter((mark) => mark.tenant === tenant).length;
  }

  /** Throws `ServeError` if the tenant has this many unfinished records. */
  async refuseFrom(limit: number, tenant: string): Promise<void> {
    if ((await this.countActive(tenant)) < limit) return;
    const message = `You have ${limit} unfinished ${this.#kind.plural}, which is the limit. Wait for one to finish, or cancel one.`;
    throw new ServeError('rate_limit_exceeded', message, { retryAfterS: RETRY_S });
  }

  /** Returns the ids of all unfinished records. */
  async activeIds(): Promise<Set<string>> {
    return new Set((await this.marks()).map(({ id }) => id));
  }

  /** Lists the marks of all tenants' unfinished records, the oldest record first. */
  async marks(): Promise<OpenMark[]> {
    const { marks: prefix } = this.#kind;
    const marks: OpenMark[] = [];
    for await (const entry of this.store.list(prefix)) {
      const [, id, tenant] = /^([^.]+)\.(.+)$/.exec(entry.key.slice(prefix.length)) ?? [];
      if (entry.kind !== 'object' || !id || !tenant) continue;
      marks.push({ id, tenant, etag: entry.etag, state: this.#stateOfMark(entry.byteSize) });
    }
    return marks;
  }

  /**
   * A mark's length tells the state, because lists show it; its content only makes two marks differ. The state cannot move into
   * the key while servers of 0.3.0 share the store: they take all of the key behind the id for the tenant, so they would miss the
   * record. A second object with the state in its key would keep an old state when they change the record.
   */
  #markOf(record: R): Uint8Array {
    return Buffer.from(randomUUID().padEnd(MIN_MARK_BYTES + this.#stateCode(record)));
  }

  #stateCode({ status, lease }: R): number {
    return 2 * this.#kind.statuses.indexOf(status) + Number(lease !== undefined);
  }

  #stateOfMark(byteSize: number): MarkedState | undefined {
    const code = byteSize - MIN_MARK_BYTES;
    const status = this.#kind.statuses[Math.floor(code / 2)];
    return status === undefined ? undefined : { status, isLeased: code % 2 === 1 };
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
