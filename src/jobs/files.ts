// Files that a tenant uploaded or its jobs produced: one object with the content and one with metadata, both under the tenant's
// prefix. A file exists as long as its metadata does. Contents are never parsed.

import { z } from 'zod';
import { ifSound, Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import {
  isDamage,
  listFolders,
  type PutSource,
  type StoreCall,
  type StoredObject,
} from '../../adapters/store/store.ts';
import { fieldError, ServeError } from '../common/errors.ts';
import { formatFileSize } from '../common/format-bytes.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type Page, type PageQuery, unknownAfter } from '../common/page.ts';
import type { Clock } from '../common/waiting.ts';
import { FILE_PURPOSES, isUploadPurpose } from '../contracts/file-purposes.ts';
import { type CreateId, isIdBefore } from './names.ts';

const metaSchema = z.object({
  schema: z.literal(1),
  id: z.string(),
  byteSize: z.int().min(0),
  filename: z.string(),
  purpose: z.enum(FILE_PURPOSES),
  /** Unix milliseconds. */
  createdMs: z.int(),
  expiresMs: z.int().optional(),
});

/** The metadata of a file. */
export type FileMeta = z.infer<typeof metaSchema>;
/** The purpose of a file, as in OpenAI's API. */
type FilePurpose = FileMeta['purpose'];

/** A file to create. */
interface NewFile {
  readonly source: PutSource;
  readonly byteSize: number;
  readonly filename: string;
  readonly purpose: FilePurpose;
  readonly expiresAfterMs?: number;
  /** Creating a file twice under one id results in one file. Default: a new id. */
  readonly id?: string;
}

/** The need of a request for a file. */
interface UploadUse {
  readonly param: string;
  readonly purpose: FilePurpose;
}

/** Selects a page of a tenant's files. */
interface FileQuery extends PageQuery {
  readonly purpose?: string | undefined;
  readonly order: 'asc' | 'desc';
}

/** The limits of each tenant. */
export interface FileLimits {
  /** The most files. */
  readonly maxFiles: number;
  /** The most bytes in all files. */
  readonly maxFilesBytes: number;
}

interface FilesContext {
  readonly store: GuardedStore;
  readonly createId: CreateId;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  readonly limits: FileLimits;
  readonly clock: Clock;
}

/** A creation in progress. */
interface OpenUpload {
  readonly tenant: string;
  readonly id: string;
  readonly byteSize: number;
}

const FILE_ID = /^file-[A-Za-z0-9]{1,64}$/;
/** Metadata takes about 300 bytes, and a file name may need 1 KB of escapes. */
const MAX_META_BYTES = 8192;
/** Metadata is written right after the content, so content without metadata for this long is left over from a failure. */
const LEFTOVER_MS = 24 * 3_600_000;

const folderOf = (tenant: string) => `${tenant}/.files/`;
const keyOf = (tenant: string, id: string, part: 'meta.json' | 'content') =>
  `${folderOf(tenant)}${id}/${part}`;

/** The files of all tenants. Methods throw the guarded store's errors. */
export class Files {
  readonly #context: FilesContext;
  readonly #metas: Records<FileMeta>;
  /** Creations in the order of their start. */
  readonly #uploads = new Set<OpenUpload>();

  constructor(context: FilesContext) {
    this.#context = context;
    const kind = { schema: metaSchema, maxBytes: MAX_META_BYTES };
    this.#metas = new Records(context.store, kind, context.clock);
  }

  /** Stores a file. Throws `ServeError` (400) if an upload exceeds the tenant's limits. */
  async create(tenant: string, file: NewFile, call?: StoreCall): Promise<FileMeta> {
    const { store, createId, now } = this.#context;
    const { source, byteSize, filename, purpose, expiresAfterMs } = file;
    const id = file.id ?? createId('file');
    const upload = { tenant, id, byteSize };
    const earlier = [...this.#uploads].filter((other) => other.tenant === tenant);
    this.#uploads.add(upload);
    try {
      if (isUploadPurpose(purpose)) await this.#checkRoom(upload, earlier, call);
      await store.put(keyOf(tenant, id, 'content'), source, call);
      const createdMs = now();
      const expiry = expiresAfterMs === undefined ? {} : { expiresMs: createdMs + expiresAfterMs };
      const meta = { schema: 1 as const, id, byteSize, filename, purpose, createdMs, ...expiry };
      return (await this.#metas.create(keyOf(tenant, id, 'meta.json'), meta, call)).value;
    } finally {
      this.#uploads.delete(upload);
    }
  }

  /** Returns a file's metadata. Throws `ServeError` (404) if the file is unknown, expired or another tenant's. */
  async get(tenant: string, id: string, call?: StoreCall): Promise<FileMeta> {
    return (await this.#find(tenant, id, call)) ?? notFound(id);
  }

  /** Returns an upload that a parameter of a request names. Throws `ServeError` if it is unknown or has another purpose. */
  async getUpload(tenant: string, id: string, use: UploadUse): Promise<FileMeta> {
    const { param, purpose } = use;
    const meta = await this.get(tenant, id).catch((error) => {
      const isMissing = error instanceof ServeError && error.code === 'not_found';
      throw isMissing ? new ServeError('not_found', error.message, { param }) : error;
    });
    if (meta.purpose === purpose) return meta;
    const fault = `the file has the purpose ${meta.purpose}. Upload it again with the purpose ${purpose}.`;
    throw fieldError(param, fault);
  }

  /** Opens a file's content. Throws like `get`. */
  async open(tenant: string, id: string, call?: StoreCall): Promise<StoredObject> {
    await this.get(tenant, id, call);
    return (await this.#context.store.get(keyOf(tenant, id, 'content'), call)) ?? notFound(id);
  }

  /** Removes a file, even if its metadata is damaged. Throws like `get`. */
  async remove(tenant: string, id: string): Promise<void> {
    await this.get(tenant, id).catch((error: unknown) => {
      if (!isDamage(error as Error)) throw error;
    });
    await this.#erase(tenant, id);
  }

  /**
   * Lists files by upload time, without damaged ones. Reads metadata until the page is full. Throws `ServeError` (400) if
   * `after` cannot be a file id.
   */
  async list(tenant: string, { purpose, after, limit, order }: FileQuery): Promise<Page<FileMeta>> {
    // Includes unfinished uploads.
    let ids = await listFolders(this.#context.store, folderOf(tenant), FILE_ID);
    if (order === 'desc') ids.reverse();
    if (after !== undefined) {
      // A deleted file still works as a cursor, because clients delete files while they list them.
      if (!ids.includes(after) && !isIdBefore(this.#context.now(), after)) throw unknownAfter();
      const isBeyond = (id: string) => (order === 'desc' ? id < after : id > after);
      ids = ids.filter(isBeyond);
    }
    return readPage(ids, limit, async (id) => {
      const meta = await this.#find(tenant, id);
      return !purpose || meta?.purpose === purpose ? meta : undefined;
    });
  }

  async #find(tenant: string, id: string, call?: StoreCall): Promise<FileMeta | undefined> {
    if (!FILE_ID.test(id)) return undefined;
    const meta = await this.#metas.read(keyOf(tenant, id, 'meta.json'), call);
    if (!meta) return undefined;
    if ((meta.expiresMs ?? Number.POSITIVE_INFINITY) > this.#context.now()) return meta;
    await this.#erase(tenant, id);
    return undefined;
  }

  /** Removes the metadata first, which ends the file. */
  async #erase(tenant: string, id: string): Promise<void> {
    await this.#context.store.delete(keyOf(tenant, id, 'meta.json'));
    await this.#context.store.delete(keyOf(tenant, id, 'content'));
  }

  /** Counts this server's `earlier` uploads as well. Concurrent uploads to other servers may each see room for one more. */
  async #checkRoom(
    { tenant, byteSize }: OpenUpload,
    earlier: readonly OpenUpload[],
    call?: StoreCall,
  ): Promise<void> {
    const { maxFiles, maxFilesBytes: maxBytes } = this.#context.limits;
    const stored = await this.#storedBytes(tenant, call);
    for (const { id, byteSize: expected } of earlier) stored.set(id, expected);
    const bytes = [...stored.values()].reduce((sum, size) => sum + size, 0);
    if (stored.size >= maxFiles) {
      throw noRoom(`You have ${stored.size} files, and the limit is ${maxFiles}.`);
    }
    if (bytes + byteSize > maxBytes) {
      const used = `Your files use ${formatFileSize(bytes)} of ${formatFileSize(maxBytes)}`;
      throw noRoom(`${used}, which leaves no room for ${formatFileSize(byteSize)} more.`);
    }
  }

  /** Returns the size of each file in bytes. Removes remains of uploads whose server died, which nobody could see or delete. */
  async #storedBytes(tenant: string, call?: StoreCall): Promise<Map<string, number>> {
    const { store, now } = this.#context;
    const prefix = folderOf(tenant);
    const bytes = new Map<string, number>();
    /** Old contents without metadata. */
    const leftovers = new Set<string>();
    // Keys are sorted, so a file's content comes before its metadata.
    for await (const entry of store.list(prefix, call)) {
      if (entry.kind !== 'object') continue;
      const [id, part] = entry.key.slice(prefix.length).split('/') as [string, string];
      bytes.set(id, (bytes.get(id) ?? 0) + entry.byteSize);
      if (part === 'meta.json') leftovers.delete(id);
      else if (now() - entry.modifiedMs > LEFTOVER_MS) leftovers.add(id);
    }
    for (const id of leftovers) {
      await store.delete(keyOf(tenant, id, 'content'), call);
      bytes.delete(id);
    }
    return bytes;
  }
}

function noRoom(reason: string): ServeError {
  const message = `${reason} Delete files that you no longer need.`;
  return new ServeError('invalid_request', message, { param: 'file' });
}

function notFound(id: string): never {
  const shown = FILE_ID.test(id) ? id : JSON.stringify(id.slice(0, 40)); // clients may send anything
  throw new ServeError('not_found', `No such File object: ${shown}`, { param: 'id' });
}

/** Items that are read for a page before it is checked whether it is full. */
const PAGE_READS = 32;

/**
 * Returns a page of the items with these ids. Reads until it is full. Leaves out items that are damaged, and those for which
 * `read` resolves with undefined.
 */
export async function readPage<T>(
  ids: readonly string[],
  limit: number,
  read: (id: string) => Promise<T | undefined>,
): Promise<Page<T>> {
  const items: T[] = [];
  for (let start = 0; start < ids.length && items.length <= limit; start += PAGE_READS) {
    const some = await mapBounded(ids.slice(start, start + PAGE_READS), (id) => ifSound(read(id)));
    for (const item of some) if (item !== undefined) items.push(item);
  }
  return { items: items.slice(0, limit), hasMore: items.length > limit };
}
