// Files that are served unchanged: with a tag, and compressed once for all clients that accept it.
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Context } from 'hono';
import { type Lazy, lazy } from '../../common/lazy.ts';

type Bytes = Buffer<ArrayBuffer>;

/** A file in the forms in which it is served. */
export interface StaticFile {
  readonly bytes: Bytes;
  readonly type: string;
  /** From the digest of the bytes. */
  readonly tag: string;
  /** By content coding, the best first. */
  readonly compressed: ReadonlyMap<string, Lazy<Bytes>>;
}

/** Beyond this level, Brotli saves a few percent and takes ten times as long. */
const BROTLI = { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } };
/** Compression would not save a packet. */
const MIN_BYTES = 1024;

/** Prepares bytes for `sendFile`. They are compressed when a client first asks for it. */
export function toStaticFile(bytes: Bytes, type: string): StaticFile {
  const digest = createHash('sha256').update(bytes).digest('base64url');
  const codings: Readonly<Record<string, () => Promise<Buffer>>> = {
    br: () => promisify(brotliCompress)(bytes, BROTLI),
    gzip: () => promisify(gzip)(bytes),
  };
  const compressed = Object.entries(codings).map(
    ([coding, compress]) => [coding, lazy(async () => (await compress()) as Bytes)] as const,
  );
  return {
    bytes,
    type,
    tag: digest.slice(0, 22),
    compressed: new Map(bytes.length < MIN_BYTES ? [] : compressed),
  };
}

/** Browsers revalidate each time and get a 304 if nothing changed, so that a page never mixes files of two server versions. */
export async function sendFile(c: Context, file: StaticFile): Promise<Response> {
  const { bytes, type, tag, compressed } = file;
  const accepted = acceptedCodings(c.req.header('accept-encoding'));
  const [coding, content] = [...compressed].find(([name]) => accepted.has(name)) ?? [];
  c.header('etag', `"${tag}${coding === undefined ? '' : `-${coding}`}"`);
  c.header('cache-control', 'no-cache');
  c.header('vary', 'accept-encoding', { append: true });
  if (matches(c.req.header('if-none-match'), tag)) return c.body(null, 304);
  c.header('content-type', type);
  if (coding === undefined || !content) return c.body(bytes);
  c.header('content-encoding', coding);
  return c.body(await content.get());
}

/** Reads `Accept-Encoding`. A coding with the weight 0 is not accepted. */
function acceptedCodings(header = ''): ReadonlySet<string> {
  const codings = header.split(',').map((coding) => coding.split(';').map((part) => part.trim()));
  const accepted = codings.filter(([, weight = '']) => !/^q=0(\.0*)?$/.test(weight));
  return new Set(accepted.map(([name = '']) => name.toLowerCase()));
}

/** Compares weakly, because a proxy that compresses weakens tags, and without the coding. */
function matches(header: string | undefined, tag: string): boolean {
  const tags = header?.split(',').map((one) => one.trim()) ?? [];
  return tags.some(
    (one) => one === '*' || /^(?:W\/)?"([\w-]{22})(?:-\w+)?"$/.exec(one)?.[1] === tag,
  );
}
