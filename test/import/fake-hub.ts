// A fake of the Hugging Face hub that serves one model: its commits, file list, and contents in ranges. It counts the bytes
// that it sends, and can interrupt a download once.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The newest commit. */
export const COMMIT = 'c'.repeat(40);
/** An older one, with the same files. */
export const OLDER_COMMIT = 'b'.repeat(40);

export class FakeHub {
  readonly files: Map<string, Uint8Array>;
  /** The number of bytes of file contents that were sent. */
  sentBytes = 0;
  /** Breaks the next large file off after its first bytes, once the promise is kept. */
  break: { readonly afterBytes: number; readonly when: Promise<void> } | undefined;
  /** Whether to send other bytes than the file list announces. */
  isLying = false;
  readonly tokens = new Set<string | undefined>();
  /** The commits that it has. */
  readonly commits = new Set([COMMIT, OLDER_COMMIT]);
  readonly #id: string;
  readonly #server: Server;

  constructor(id: string, files: Map<string, Uint8Array>) {
    this.#id = id;
    this.files = files;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.tokens.add(request.headers.authorization);
    const { pathname } = new URL(request.url!, 'http://hub');
    const url = /^(?:\/api\/models)?\/(.+?\/.+?)\/(revision|tree|resolve)\/([^/]+)\/?(.*)$/.exec(
      pathname,
    );
    const [, id, kind, revision = '', name = ''] = url ?? [];
    const sha = revision === 'HEAD' ? COMMIT : revision;
    const isKnown = id === this.#id && this.commits.has(sha);
    const file = this.files.get(name);
    if (isKnown && kind === 'revision') {
      json(response, { _id: '1', id, sha, downloads: 0, likes: 0 });
    } else if (isKnown && kind === 'tree') {
      const entries = [...this.files].map(([path, bytes]) => entry(path, bytes));
      json(response, entries);
    } else if (isKnown && file) {
      this.#sendRange(request, response, file);
    } else {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end('{"error":"Repository not found"}');
    }
  }

  #sendRange(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array): void {
    const [, from = '0', to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [];
    const end = to ? Number(to) + 1 : bytes.length;
    const part = Buffer.from(bytes.slice(Number(from), end));
    if (this.isLying) part.fill(0);
    response.writeHead(request.headers.range ? 206 : 200, {
      'content-length': part.length,
      'content-range': `bytes ${from}-${end - 1}/${bytes.length}`,
      etag: `"${sha1(bytes)}"`,
    });
    const cut = this.break;
    if (cut && part.length > cut.afterBytes) {
      this.break = undefined;
      this.sentBytes += cut.afterBytes;
      response.write(part.subarray(0, cut.afterBytes));
      void cut.when.then(() => response.destroy());
    } else {
      this.sentBytes += part.length;
      response.end(part);
    }
  }
}

/** Files of more than 1 KiB count as large and are identified by SHA-256. */
function entry(path: string, bytes: Uint8Array) {
  const common = { type: 'file', path, size: bytes.length, oid: sha1(bytes) };
  if (bytes.length <= 1024) return common;
  const oid = createHash('sha256').update(bytes).digest('hex');
  return { ...common, lfs: { oid, size: bytes.length, pointerSize: 120 } };
}

function sha1(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}
