// Serves the pages for browsers: playground, fine-tuning, adapters, status, usage and the API's document. The pages are static and
// need no key; they call the API with the reader's key. In a checkout they are bundled when the first page is read. Their content
// policy forbids inline code and content from other servers. Their paths are relative, so they work below any base path.

import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { lazy } from '../../common/lazy.ts';
import { VERSION } from '../../common/version.ts';
import type { App } from '../wire/route.ts';
import { type StaticFile, sendFile, toStaticFile } from '../wire/static-file.ts';

interface PageRoute {
  readonly path: string;
  /** The page's name in the navigation. */
  readonly name: string;
  /** The name of the page's markup and script, without extension. */
  readonly file: string;
}

/** Trusted types keep text from a model or a file from becoming markup or code. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const PAGES: readonly PageRoute[] = [
  { path: '/', name: 'Playground', file: 'playground' },
  { path: '/fine-tuning', name: 'Fine-tuning', file: 'fine-tuning' },
  { path: '/adapters', name: 'Adapters', file: 'adapters' },
  { path: '/status', name: 'Status', file: 'status' },
  { path: '/usage', name: 'Usage', file: 'usage' },
  { path: '/docs', name: 'API docs', file: 'docs' },
];

interface PageFiles {
  /** Pages by path. */
  readonly pages: ReadonlyMap<string, StaticFile>;
  /** Scripts, styles and images by name. */
  readonly files: ReadonlyMap<string, StaticFile>;
}

/** Adds the pages. They must be added before the middleware that requires a key. */
export function addPageRoutes(app: App): void {
  const content = lazy(readFiles); // nothing is read at start
  for (const { path } of PAGES) {
    app.get(path, async (c) => {
      c.header('content-security-policy', POLICY);
      c.header('cross-origin-opener-policy', 'same-origin');
      return sendFile(c, (await content.get()).pages.get(path)!);
    });
  }
  app.get('/pages/:file', async (c, next) => {
    const file = (await content.get()).files.get(c.req.param('file'));
    return file ? sendFile(c, file) : next();
  });
}

async function readFiles(): Promise<PageFiles> {
  const layout = await readMarkup('layout');
  const files = await readPageFiles();
  const pages = PAGES.map(async (page) => {
    const sheets = ['style.css', `${page.file}.css`].filter((name) => files.has(name));
    const html = render(layout, page, { main: await readMarkup(page.file), sheets });
    return [page.path, toStaticFile(Buffer.from(html), 'text/html; charset=utf-8')] as const;
  });
  return { pages: new Map(await Promise.all(pages)), files };
}

/** Fills in the layout's `{{…}}`. All values come from this server, so none is escaped. */
function render(
  layout: string,
  page: PageRoute,
  { main, sheets }: { readonly main: string; readonly sheets: readonly string[] },
): string {
  const nav = PAGES.map(({ path, name }) => {
    const current = path === page.path ? ' aria-current="page"' : '';
    return `<li><a href="${path === '/' ? './' : path.slice(1)}"${current}>${name}</a></li>`;
  });
  const styles = sheets.map((name) => `<link rel="stylesheet" href="pages/${name}">`);
  const parts: Readonly<Record<string, string>> = {
    title: page.name,
    nav: nav.join('\n'),
    styles: styles.join('\n'),
    main,
    script: `pages/${page.file}.js`,
    version: VERSION,
  };
  return layout.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => parts[name]!);
}

const FOLDER = fileURLToPath(new URL('../../pages', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Returns all files by their served names, without the pages' markup. */
async function readPageFiles(): Promise<ReadonlyMap<string, StaticFile>> {
  const names = await readdir(FOLDER);
  const bundles = names.includes('status') ? await bundleFiles() : [];
  const served = names.filter((name) => path.extname(name) in TYPES);
  const contents = await Promise.all(
    served.map(async (name) => [name, await readFile(path.join(FOLDER, name))] as const),
  );
  return new Map(
    [...contents, ...bundles].map(([name, content]) => {
      return [name, toStaticFile(content, TYPES[path.extname(name)]!)] as const;
    }),
  );
}

/** The build writes these files next to the other files. */
async function bundleFiles(): Promise<(readonly [name: string, content: Buffer<ArrayBuffer>])[]> {
  const { bundlePages } = await import('../wire/page-bundles.ts');
  const { files } = await bundlePages(FOLDER);
  return [...files].map(([name, content]) => [name, Buffer.from(content)]);
}

/** Returns the text of a page's markup. */
function readMarkup(name: string): Promise<string> {
  return readFile(path.join(FOLDER, `${name}.html`), 'utf8');
}
