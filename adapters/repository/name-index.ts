// A tenant's names in one object, so that a list needs one read instead of several for each name. One line per name, sorted, and
// a line is parsed only when its name is listed. The index repeats what other objects say, so it can be built again at any time.
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
export interface IndexEntry
  extends Pick<Aliases, 'aliases' | 'previous' | 'rolled_back' | 'about'> {
  /** The state of the aliases' object. Absent: there is none, or it is damaged. */
  readonly aliasesEtag?: string;
  /** Ascending, at least one. */
  readonly versions: readonly ListedVersion[];
}

const headerSchema = z.object({
  schema: z.literal(1),
  tenant: z.string(),
  /** The length of the lines below. */
  bytes: z.int().nonnegative(),
});
const MAX_HEADER_BYTES = 256;
const NEWLINE = 0x0a;
const TAB = 0x09;
/** A name in memory, next to its line. */
const NAME_BYTES = 200;
const NO_LINE = Buffer.alloc(0);

/** Returns the part of a manifest that lists show. Of the metrics, they show the evaluation only. */
export function toListedVersion({ metrics, labels, ...manifest }: VersionManifest): ListedVersion {
  const evaluation = metrics?.['evaluation'];
  return versionSchema.parse({
    ...manifest,
    ...(evaluation !== undefined && { metrics: { evaluation } }),
    ...(labels && { class_count: labels.length }),
  });
}

/** The names of a tenant. */
export class NameIndex {
  readonly #tenant: string;
  /** Name → its line. An empty one belongs to a name whose entry is unknown. */
  readonly #lines = new Map<string, Buffer>();
  #lineBytes = 0;
  /** Sorted. Undefined after the names have changed. Never changed itself, because pages are still reading it. */
  #names: readonly string[] | undefined;

  constructor(tenant: string) {
    this.#tenant = tenant;
  }

  /** Parses an index. Undefined if it is damaged or another tenant's. */
  static parse(tenant: string, source: Uint8Array): NameIndex | undefined {
    const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength);
    const end = bytes.subarray(0, MAX_HEADER_BYTES).indexOf(NEWLINE);
    const header = headerSchema.safeParse(parseJson(bytes.subarray(0, Math.max(0, end))));
    const lines = bytes.subarray(end + 1);
    if (header.data?.tenant !== tenant || header.data.bytes !== lines.length) return undefined;
    const index = new NameIndex(tenant);
    for (let start = 0; start < lines.length; ) {
      const next = lines.indexOf(NEWLINE, start) + 1 || lines.length;
      const name = lines.toString('latin1', start, lines.indexOf(TAB, start));
      index.#setLine(name, lines.subarray(start, next));
      start = next;
    }
    return index;
  }

  /** Returns the bytes from which `parse` makes an equal index. */
  serialize(): Uint8Array {
    const header = { schema: 1, tenant: this.#tenant, bytes: this.#lineBytes };
    const lines = this.#sorted().map((name) => this.#lines.get(name)!);
    return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), ...lines]);
  }

  /** The number of names. */
  get size(): number {
    return this.#lines.size;
  }

  get byteSize(): number {
    return this.#lineBytes + this.#lines.size * NAME_BYTES;
  }

  /** Lists the names from this one on, as they are now. */
  *namesFrom(from: string): Generator<string, undefined> {
    const names = this.#sorted();
    let [low, high] = [0, names.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (names[middle]! < from) low = middle + 1;
      else high = middle;
    }
    for (; low < names.length; low++) yield names[low]!;
    return undefined;
  }

  /** Returns a name's entry; undefined if there is none, or if its line is damaged. */
  find(name: string): IndexEntry | undefined {
    const line = this.#lines.get(name);
    const entry =
      line && (parseJson(line.subarray(line.indexOf(TAB) + 1)) as IndexEntry | undefined);
    return Array.isArray(entry?.versions) && entry.aliases ? entry : undefined;
  }

  /** Lists a name whose entry is not known yet. Does nothing if it is there. */
  add(name: string): void {
    if (!this.#lines.has(name)) this.#setLine(name, NO_LINE);
  }

  /** Replaces a name's entry. Without one, removes the name. */
  set(name: string, entry: IndexEntry | undefined): void {
    this.#setLine(name, entry && Buffer.from(`${name}\t${JSON.stringify(entry)}\n`));
  }

  #setLine(name: string, line: Buffer | undefined): void {
    const before = this.#lines.get(name);
    this.#lineBytes += (line?.length ?? 0) - (before?.length ?? 0);
    if (!before !== !line) this.#names = undefined;
    if (line) this.#lines.set(name, line);
    else this.#lines.delete(name);
  }

  #sorted(): readonly string[] {
    this.#names ??= [...this.#lines.keys()].sort();
    return this.#names;
  }
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
