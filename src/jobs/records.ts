// JSON objects in a store that change by compare-and-swap: whoever lost a race reads again and decides again. Whether a
// write whose answer was lost took effect is told by a mark that each write leaves. Knows no jobs.
import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { z } from 'zod';
import { readBody, serializeDocument } from '../../adapters/store/documents.ts';
import {
  type Etag,
  type ObjectStore,
  type StoreCall,
  StoreError,
} from '../../adapters/store/store.ts';
import { isDiskFull, ServeError } from '../common/errors.ts';
import { parseShallowJson } from '../common/shallow-json.ts';

export interface RecordKind<T> {
  readonly schema: z.ZodType<T>;
  readonly maxBytes: number;
}

/** What every record carries. */
export interface Marked {
  /** Of the write that made it so. */
  readonly mark: string;
}

export interface Found<T> {
  readonly value: T;
  readonly etag: Etag;
}

/** Of a change that meets another one each time: a few servers and a client meet less often. */
const MAX_TRIES = 30;
/** Of a store that fails: a second write tells whether it was one lost answer. */
const MAX_UNANSWERED = 3;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 320;

export type Unmarked<T extends Marked> = Omit<T, 'mark'>;

export class Records<T extends Marked> {
  readonly #store: ObjectStore;
  readonly #kind: RecordKind<T>;

  /** @param store guarded */
  constructor(store: ObjectStore, kind: RecordKind<T>) {
    this.#store = store;
    this.#kind = kind;
  }

  async read(key: string, call?: StoreCall): Promise<Found<T> | undefined> {
    const object = await this.#store.get(key, call);
    if (!object) return undefined;
    const bytes = await readBody(object.body, this.#kind.maxBytes);
    return { value: this.#parse(key, bytes), etag: object.etag };
  }

  /** The record under this key: the new one, or one that was there before. */
  async create(
    key: string,
    value: Unmarked<T>,
    call?: StoreCall,
  ): Promise<{ readonly value: T; readonly isNew: boolean }> {
    const marked = { ...value, mark: randomUUID() } as unknown as T;
    const written = await this.#put(key, marked, { ifAbsent: true, ...call });
    if (written) return { value: marked, isNew: true };
    const found = await this.read(key, call);
    if (!found) throw new ServeError('store_unavailable', 'The store does not answer.');
    return { value: found.value, isNew: found.value.mark === marked.mark };
  }

  /**
   * Applies a change to the newest state until it holds, which may take several calls of it; `undefined` from it leaves
   * everything as it is. What the change throws ends it. @returns the state after it; undefined where there is no record
   */
  async change(
    key: string,
    change: (now: T) => Unmarked<T> | undefined | Promise<Unmarked<T> | undefined>,
    call?: StoreCall,
  ): Promise<T | undefined> {
    let unanswered = 0;
    const onUnanswered = (error: ServeError) => {
      if (++unanswered === MAX_UNANSWERED) throw error;
    };
    for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
      const found = await this.read(key, call);
      if (!found) return undefined;
      const changed = await change(found.value);
      if (changed === undefined) return found.value;
      const next = { ...changed, mark: randomUUID() } as unknown as T;
      const condition = { ifMatch: found.etag, ...call };
      if (await this.#put(key, next, { ...condition, onUnanswered })) return next;
      if ((await this.read(key, call))?.value.mark === next.mark) return next;
      const boundMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
      await setTimeout(Math.random() * boundMs);
      call?.signal?.throwIfAborted();
    }
    throw new ServeError('overloaded', 'Too many others change this at this moment.');
  }

  /** Whether it was written for sure. Where that is not known, a read tells. */
  async #put(
    key: string,
    value: T,
    {
      onUnanswered,
      ...options
    }: StoreCall & {
      readonly ifMatch?: Etag;
      readonly ifAbsent?: true;
      readonly onUnanswered?: (error: ServeError) => void;
    },
  ): Promise<boolean> {
    const bytes = serializeDocument(value);
    if (bytes.length > this.#kind.maxBytes) throw new RangeError(`${key} is too large to be read`);
    try {
      await this.#store.put(key, bytes, options);
      return true;
    } catch (error) {
      if (error instanceof StoreError) return false;
      if (!(error instanceof ServeError) || !isUnanswered(error)) throw error;
      onUnanswered?.(error);
      return false;
    }
  }

  #parse(key: string, bytes: Uint8Array | undefined): T {
    try {
      return this.#kind.schema.parse(parseShallowJson(bytes ?? new Uint8Array()));
    } catch (cause) {
      throw new ServeError('store_unavailable', 'What the store holds of this is damaged.', {
        cause: new StoreError('invalid', `${key} is damaged`, { cause }),
      });
    }
  }
}

/** Whether the write may have been done all the same. A full disk has taken nothing. */
function isUnanswered(error: ServeError): boolean {
  const { cause } = error;
  return cause instanceof StoreError && cause.kind === 'unavailable' && !isDiskFull(error);
}
