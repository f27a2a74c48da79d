// Reads the files of the pages once from their folder next to the code. Only these names are served, so the path of a
// request never reaches the disk. Knows no routes.
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file as it is served. */
export interface PageFile {
  readonly bytes: Buffer<ArrayBuffer>;
  readonly type: string;
  /** A strong tag from the digest of the bytes. */
  readonly etag: string;
}

const FOLDER = fileURLToPath(new URL('../../pages', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Served name → package, and the file in the folder of the package's main module. */
const FROM_PACKAGES: Readonly<Record<string, readonly [name: string, file: string]>> = {
  'marked.js': ['marked', 'marked.esm.js'],
  'uplot.js': ['uplot', 'uPlot.esm.js'],
  'uplot.css': ['uplot', 'uPlot.min.css'],
  'swagger-ui.js': ['swagger-ui-dist', 'swagger-ui-bundle.js'],
  'swagger-ui.css': ['swagger-ui-dist', 'swagger-ui.css'],
};

/** Returns all files by served name, except the markup of pages. */
export async function readPageFiles(): Promise<ReadonlyMap<string, PageFile>> {
  const { resolve } = createRequire(import.meta.url);
  const own = (await readdir(FOLDER))
    .filter((name) => path.extname(name) in TYPES)
    .map((name) => [name, path.join(FOLDER, name)] as const);
  const others = Object.entries(FROM_PACKAGES).map(
    ([name, [from, file]]) => [name, path.join(path.dirname(resolve(from)), file)] as const,
  );
  return new Map(
    await Promise.all(
      [...own, ...others].map(
        async ([name, file]) =>
          [name, toPageFile(await readFile(file), TYPES[path.extname(name)]!)] as const,
      ),
    ),
  );
}

/** Adds the tag and the type to a file's bytes. */
export function toPageFile(bytes: Buffer<ArrayBuffer>, type: string): PageFile {
  const digest = createHash('sha256').update(bytes).digest('base64url');
  return { bytes, type, etag: `"${digest.slice(0, 22)}"` };
}

/** Returns the text of a page's markup. */
export function readMarkup(name: string): Promise<string> {
  return readFile(path.join(FOLDER, `${name}.html`), 'utf8');
}
