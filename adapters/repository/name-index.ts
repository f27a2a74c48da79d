// A tenant's names in one object, so that a list needs one read instead of several for each name. One line per name, sorted:
// pages are found without parsing the other lines, and a change replaces its lines only. The index repeats what other objects
// say, so it can be built again at any time.
import { z } from 'zod';
import { type Aliases, manifestSchema, type VersionManifest } from './manifest.ts';

/** The part of a manifest that lists show. */
const versionSchema = manifestSchema
  .pick({
    version: true,
    digest: true,
    files: true,
    base_digest: true,
    created_at: true,
    rank: true,
    targets: true,
    job: true,
    training: true,
    metrics: true,
  })
  .extend({
    /** The number of a classifier's named classes. Absent: it generates text, or an older program wrote the entry. */
    class_count: z.int().nonnegative().optional(),
  });

/** The facts about a version that lists show. */
export type ListedVersion = z.infer<typeof versionSchema>;

/** The facts about a name that lists show. */
export interface IndexEntry extends Pick<Aliases, 'aliases' | 'previous' | 'about'> {
  /** The state of the aliases' object. Absent: there is none, or it is damaged. */
  readonly aliasesEtag?: string;
  /** Ascending, at least one. */
  readonly versions: readonly ListedVersion[];
}

/** Names with their new entries; undefined removes a name. */
export type IndexChanges = ReadonlyMap<string, IndexEntry | undefined>;

const headerSchema = z.object({
  schema: z.literal(1),
  tenant: z.string(),
  /** The length of the lines below. */
  bytes: z.int().nonnegative(),
});
const MAX_HEADER_BYTES = 256;
const NEWLINE = 0x0a;
const TAB = 0x09;

/** Returns the part of a manifest that lists show. Of the metrics, they show the evaluation only. */
export function toListedVersion({ metrics, labels, ...manifest }: VersionManifest): ListedVersion {
  const evaluation = metrics?.['evaluation'];
  return versionSchema.parse({
    ...manifest,
    ...(evaluation !== undefined && { metrics: { evaluation } }),
    ...(labels && { class_count: labels.length }),
  });
}

/** The names of a tenant at one time. */
export class NameIndex {
  readonly #tenant: string;
  readonly #lines: Buffer;
  /** The offset of each line, and the end of the last one. */
  readonly #starts: Uint32Array;

  private constructor(tenant: string, lines: Buffer) {
    this.#tenant = tenant;
    this.#lines = lines;
    const starts = [0];
    for (let end = lines.indexOf(NEWLINE); end >= 0; end = lines.indexOf(NEWLINE, end + 1)) {
      starts.push(end + 1);
    }
    this.#starts = Uint32Array.from(starts);
  }

  /** An index without names. */
  static empty(tenant: string): NameIndex {
    return new NameIndex(tenant, Buffer.alloc(0));
  }

  /** Parses an index. Undefined if it is damaged or another tenant's. Lines are only parsed when they are read. */
  static parse(tenant: string, source: Uint8Array): NameIndex | undefined {
    const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength);
    const end = bytes.subarray(0, MAX_HEADER_BYTES).indexOf(NEWLINE);
    const header = headerSchema.safeParse(parseJson(bytes.subarray(0, Math.max(0, end))));
    const lines = bytes.subarray(end + 1);
    if (header.data?.tenant !== tenant || header.data.bytes !== lines.length) return undefined;
    return new NameIndex(tenant, lines);
  }

  /** The bytes from which `parse` makes an equal index. */
  serialize(): Uint8Array {
    const header = { schema: 1, tenant: this.#tenant, bytes: this.#lines.length };
    return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), this.#lines]);
  }

  /** The number of names. */
  get size(): number {
    return this.#starts.length - 1;
  }

  get byteSize(): number {
    return this.#lines.length + this.#starts.byteLength;
  }

  /** Returns the position of the first name that is not before this one. */
  positionOf(name: string): number {
    let [low, high] = [0, this.size];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.nameAt(middle) < name) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  nameAt(position: number): string {
    const start = this.#starts[position]!;
    return this.#lines.toString('latin1', start, this.#lines.indexOf(TAB, start));
  }

  /** Returns an entry; undefined if its line is damaged. */
  entryAt(position: number): IndexEntry | undefined {
    const line = this.#lineAt(position);
    const entry = parseJson(line.subarray(line.indexOf(TAB) + 1));
    return isEntry(entry) ? entry : undefined;
  }

  /** Returns an entry by its name; undefined if there is none. */
  find(name: string): IndexEntry | undefined {
    const position = this.positionOf(name);
    const isThere = position < this.size && this.nameAt(position) === name;
    return isThere ? this.entryAt(position) : undefined;
  }

  /** Returns the index after changes. */
  with(changes: IndexChanges): NameIndex {
    const parts: Buffer[] = [];
    let copied = 0;
    const copyTo = (position: number) => {
      parts.push(this.#lines.subarray(this.#starts[copied], this.#starts[position]));
      copied = position;
    };
    for (const [name, entry] of [...changes].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const position = this.positionOf(name);
      copyTo(position);
      if (position < this.size && this.nameAt(position) === name) copied++;
      if (entry) parts.push(Buffer.from(`${name}\t${JSON.stringify(entry)}\n`));
    }
    copyTo(this.size);
    return new NameIndex(this.#tenant, Buffer.concat(parts));
  }

  #lineAt(position: number): Buffer {
    return this.#lines.subarray(this.#starts[position], this.#starts[position + 1]! - 1);
  }
}

/** A full check of ten thousand entries takes longer than a page may. */
function isEntry(value: unknown): value is IndexEntry {
  const { aliases, previous, versions } = (value ?? {}) as Partial<IndexEntry>;
  const isVersion = (one: Partial<ListedVersion> | null) =>
    Number.isInteger(one?.version) && Array.isArray(one?.targets) && typeof one?.files === 'object';
  return (
    typeof aliases === 'object' &&
    typeof previous === 'object' &&
    Array.isArray(versions) &&
    versions.length > 0 &&
    versions.every(isVersion)
  );
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
