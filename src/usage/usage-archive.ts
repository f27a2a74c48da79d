// Usage in the store, by day. Each server has one object per day. A day that is over gets one more with the sums of all servers,
// so that a month of a large fleet is read with one request per day.
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import {
  type DocumentKind,
  type DocumentStore,
  ifSound,
  readDocument,
} from '../../adapters/store/documents.ts';
import type { ObjectInfo, StoreCall } from '../../adapters/store/store.ts';
import { mapBounded } from '../common/map-bounded.ts';
import {
  rowsOf,
  type StoredUsage,
  type UsageRow,
  UsageTable,
  usageTableSchema,
} from './usage-table.ts';

const FOLDER = '.usage/';
/** The last part is a server, or `all`, which is no hexadecimal number. */
const KEY = /^\.usage\/(\d{4}-\d\d-\d\d)\/([0-9a-f]+|all)$/;
const ALL = 'all';
const DAY_MS = 86_400_000;
/** Clocks differ, and a server may write late. Sums that miss something are noticed, but cost a second write. */
const LATE_MS = 3_600_000;
/** Two sums of a day of 100,000 rows. */
const MAX_BYTES = 32 * 2 ** 20;
/** Rows in memory, about 200 bytes each. */
const MAX_CACHED_ROWS = 200_000;

/** The sums of a day, and the states of the objects that they include. */
const dailySumSchema = usageTableSchema.extend({ parts: z.record(z.string(), z.string()) });
const PART: DocumentKind<StoredUsage> = { schema: usageTableSchema, maxBytes: MAX_BYTES };
const SUM: DocumentKind<z.infer<typeof dailySumSchema>> = {
  schema: dailySumSchema,
  maxBytes: MAX_BYTES,
};

/** A day's usage. */
interface UsageDay {
  /** Unix milliseconds. */
  readonly startMs: number;
  readonly rows: readonly UsageRow[];
}

/** The objects of a day, by their name. */
type DayObjects = Map<string, ObjectInfo>;

/** Reads and writes usage. Methods reject with the guarded store's errors. */
export class UsageArchive {
  readonly #documents: DocumentStore;
  readonly #now: () => number;
  /** Key and state of an object → its rows. */
  readonly #cache = new LRUCache<string, readonly UsageRow[]>({
    maxSize: MAX_CACHED_ROWS,
    sizeCalculation: (rows) => rows.length + 1,
  });

  /** @param now returns Unix milliseconds */
  constructor(documents: DocumentStore, now: () => number) {
    this.#documents = documents;
    this.#now = now;
  }

  /** Writes what a server has counted on a day so far. */
  async write(day: string, server: string, table: UsageTable): Promise<void> {
    await this.#put(`${FOLDER}${day}/${server}`, table.toStored());
  }

  /** Returns the days with usage in a range of Unix milliseconds, oldest first. */
  async read(fromMs: number, toMs: number, call: StoreCall = {}): Promise<UsageDay[]> {
    const days = new Map<string, DayObjects>();
    // Keys are ordered by their days.
    for await (const entry of this.#documents.store.list(FOLDER, {
      ...call,
      after: `${FOLDER}${utcDay(fromMs)}`,
    })) {
      const [, day, name] = KEY.exec(entry.key) ?? [];
      if (day === undefined || entry.kind !== 'object') continue;
      if (Date.parse(day) >= toMs) break;
      days.set(day, (days.get(day) ?? new Map()).set(name!, entry));
    }
    return mapBounded([...days], async ([day, objects]) => {
      return { startMs: Date.parse(day), rows: await this.#readDay(day, objects, call) };
    });
  }

  async #readDay(day: string, objects: DayObjects, call: StoreCall): Promise<readonly UsageRow[]> {
    const sum = objects.get(ALL);
    objects.delete(ALL);
    const parts = [...objects.values()];
    if (sum) {
      const known = await this.#readSum(sum, objects, call);
      if (known) return known;
    }
    const table = new UsageTable();
    for (const rows of await mapBounded(parts, (part) => this.#readPart(part, call))) {
      for (const row of rows) table.add(row);
    }
    const isOver = this.#now() - Date.parse(day) > DAY_MS + LATE_MS;
    if (isOver && parts.length > 1) {
      const states = Object.fromEntries([...objects].map(([name, { etag }]) => [name, etag]));
      // The sums are a shortcut: without them, the next reader adds up again.
      await this.#put(`${FOLDER}${day}/${ALL}`, { ...table.toStored(), parts: states }).catch(
        () => {},
      );
    }
    return table.rows();
  }

  async #readPart({ key, etag }: ObjectInfo, call: StoreCall): Promise<readonly UsageRow[]> {
    const cached = this.#cache.get(`${key} ${etag}`);
    if (cached) return cached;
    const found = await ifSound(readDocument(this.#documents, key, PART, call));
    const rows = found ? rowsOf(found.value) : [];
    if (found) this.#cache.set(`${key} ${found.etag}`, rows);
    return rows;
  }

  /** Returns the sums if they include all parts as they are now. */
  async #readSum(
    { key }: ObjectInfo,
    parts: DayObjects,
    call: StoreCall,
  ): Promise<readonly UsageRow[] | undefined> {
    const found = await ifSound(readDocument(this.#documents, key, SUM, call));
    const states = found?.value.parts ?? {};
    const isCurrent = [...parts].every(([name, part]) => states[name] === part.etag);
    return found && isCurrent ? rowsOf(found.value) : undefined;
  }

  async #put(key: string, value: object): Promise<void> {
    await this.#documents.store.put(key, new TextEncoder().encode(JSON.stringify(value)));
  }
}

/** Returns the day of a time in UTC, such as `2026-11-29`. */
export function utcDay(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
