// Files that a tenant has uploaded or that its jobs have left: content and facts in the store, each under the tenant's
// prefix. A file is there when its facts are; it ends when they go. It never looks into a content.
import { z } from 'zod';
import type {
  ObjectStore,
  PutSource,
  StoreCall,
  StoredObject,
} from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import type { CreateId } from './ids.ts';
import { type Marked, Records } from './records.ts';

const metaSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  id: z.string(),
  byteSize: z.int().min(0),
  filename: z.string(),
  purpose: z.enum(['fine-tune', 'fine-tune-results']),
  /** Unix milliseconds. */
  createdMs: z.int(),
  expiresMs: z.int().optional(),
});

export type FileMeta = z.infer<typeof metaSchema>;
export type FilePurpose = FileMeta['purpose'];

export interface NewFile {
  readonly source: PutSource;
  readonly byteSize: number;
  readonly filename: string;
  readonly purpose: FilePurpose;
  readonly expiresAfterMs?: number;
  /** Absent: a new one. The same one again leads to the same file. */
  readonly id?: string;
}

export interface FileQuery {
  readonly purpose?: string | undefined;
  /** The id that the page before ended with. */
  readonly after?: string | undefined;
  readonly limit: number;
  readonly order: 'asc' | 'desc';
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly hasMore: boolean;
}

export interface FilesOptions {
  /** Guarded. */
  readonly store: ObjectStore;
  readonly createId: CreateId;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Of one tenant. */
  readonly maxFiles: number;
  /** Of one tenant's files together, results of jobs included. */
  readonly maxBytes: number;
}

/** An upload that is not over. */
interface Upload {
  readonly tenant: string;
  readonly id: string;
  readonly byteSize: number;
}

const FILE_ID = /^file-[A-Za-z0-9]{1,64}$/;
/** Facts of a file are some 300 bytes; its name may be 1 KB of escapes. */
const MAX_META_BYTES = 8192;
/** Facts that are read at once while a page is filled. */
const PAGE_READS = 64;

const keyOf = (tenant: string, id: string, part: 'meta.json' | 'content') =>
  `${tenant}/.files/${id}/${part}`;

export class Files {
  readonly #options: FilesOptions;
  readonly #metas: Records<FileMeta & Marked>;
  /** In the order in which they began. */
  readonly #underWay = new Set<Upload>();

  constructor(options: FilesOptions) {
    this.#options = options;
    this.#metas = new Records(options.store, { schema: metaSchema, maxBytes: MAX_META_BYTES });
  }

  async create(tenant: string, file: NewFile, call?: StoreCall): Promise<FileMeta> {
    const { store, createId, now } = this.#options;
    const { source, byteSize, filename, purpose, expiresAfterMs } = file;
    const id = file.id ?? createId('file');
    const upload = { tenant, id, byteSize };
    const earlier = [...this.#underWay].filter((other) => other.tenant === tenant);
    this.#underWay.add(upload);
    try {
      if (purpose === 'fine-tune') await this.#checkRoom(upload, earlier, call);
      await store.put(keyOf(tenant, id, 'content'), source, call);
      const createdMs = now();
      const expiry = expiresAfterMs === undefined ? {} : { expiresMs: createdMs + expiresAfterMs };
      const meta = { schema: 1 as const, id, byteSize, filename, purpose, createdMs, ...expiry };
      return (await this.#metas.create(keyOf(tenant, id, 'meta.json'), meta, call)).value;
    } finally {
      this.#underWay.delete(upload);
    }
  }

  /** Throws `ServeError` (404), the same for what is unknown, foreign or expired. */
  async get(tenant: string, id: string, call?: StoreCall): Promise<FileMeta> {
    const meta = await this.#find(tenant, id, call);
    if (meta) return meta;
    throw new ServeError('not_found', `No such File object: ${quoted(id)}`, { param: 'id' });
  }

  async open(tenant: string, id: string, call?: StoreCall): Promise<StoredObject> {
    await this.get(tenant, id, call);
    const object = await this.#options.store.get(keyOf(tenant, id, 'content'), call);
    if (object) return object;
    throw new ServeError('not_found', `No such File object: ${quoted(id)}`, { param: 'id' });
  }

  async remove(tenant: string, id: string): Promise<void> {
    await this.get(tenant, id);
    await this.#erase(tenant, id);
  }

  /** By time of upload. Reads facts until the page is full. */
  async list(tenant: string, { purpose, after, limit, order }: FileQuery): Promise<Page<FileMeta>> {
    let ids = await this.#ids(tenant);
    if (order === 'desc') ids.reverse();
    if (after !== undefined) {
      const isBeyond = (id: string) => (order === 'desc' ? id < after : id > after);
      ids = ids.filter(isBeyond);
    }
    const items: FileMeta[] = [];
    for (let start = 0; start < ids.length && items.length <= limit; start += PAGE_READS) {
      const metas = await mapBounded(ids.slice(start, start + PAGE_READS), (id) =>
        this.#find(tenant, id),
      );
      const wanted = metas.filter((meta) => meta && (!purpose || meta.purpose === purpose));
      items.push(...(wanted as FileMeta[]));
    }
    return { items: items.slice(0, limit), hasMore: items.length > limit };
  }

  async #find(tenant: string, id: string, call?: StoreCall): Promise<FileMeta | undefined> {
    if (!FILE_ID.test(id)) return undefined;
    const found = await this.#metas.read(keyOf(tenant, id, 'meta.json'), call);
    if (!found) return undefined;
    if ((found.value.expiresMs ?? Number.POSITIVE_INFINITY) > this.#options.now()) {
      return found.value;
    }
    await this.#erase(tenant, id);
    return undefined;
  }

  /** Facts first: without them there is no file. */
  async #erase(tenant: string, id: string): Promise<void> {
    await this.#options.store.delete(keyOf(tenant, id, 'meta.json'));
    await this.#options.store.delete(keyOf(tenant, id, 'content'));
  }

  /** Ascending. Also of what is being uploaded, or never was to its end. */
  async #ids(tenant: string, call?: StoreCall): Promise<string[]> {
    const prefix = `${tenant}/.files/`;
    const ids: string[] = [];
    for await (const entry of this.#options.store.list(prefix, { ...call, delimiter: '/' })) {
      const id = entry.key.slice(prefix.length, -1);
      if (entry.kind === 'folder' && FILE_ID.test(id)) ids.push(id);
    }
    return ids;
  }

  /** Counts `earlier` uploads of this server that are not over; those of other servers may each see room for one. */
  async #checkRoom(
    { tenant, byteSize }: Upload,
    earlier: readonly Upload[],
    call?: StoreCall,
  ): Promise<void> {
    const { maxFiles, maxBytes } = this.#options;
    const prefix = `${tenant}/.files/`;
    const ids = new Set(earlier.map(({ id }) => id));
    const counted = new Set(ids);
    let bytes = earlier.reduce((sum, upload) => sum + upload.byteSize, 0);
    for await (const entry of this.#options.store.list(prefix, call)) {
      if (entry.kind !== 'object') continue;
      const id = entry.key.slice(prefix.length).split('/')[0]!;
      if (counted.has(id)) continue;
      ids.add(id);
      bytes += entry.byteSize;
    }
    if (ids.size >= maxFiles) {
      throw noRoom(`You have ${ids.size} files, and the limit is ${maxFiles}.`);
    }
    if (bytes + byteSize > maxBytes) {
      const used = `Your files use ${bytes} of ${maxBytes} bytes`;
      throw noRoom(`${used}, which leaves no room for ${byteSize} more.`);
    }
  }
}

function noRoom(reason: string): ServeError {
  const message = `${reason} Delete files that you no longer need.`;
  return new ServeError('invalid_request', message, { param: 'file' });
}

/** For a message: it may be anything. */
function quoted(id: string): string {
  return FILE_ID.test(id) ? id : JSON.stringify(id.slice(0, 40));
}
