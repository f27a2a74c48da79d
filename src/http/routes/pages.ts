// The pages for people: playground, fine-tuning, status, the API's document. Static, the same for everybody, so that
// they need no key; what they show they ask of the API, with the reader's key. They are complete with this server: their
// policy forbids whatever comes from elsewhere or stands in the markup itself. Paths in them are relative, so that they
// work below any base path.
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { lazy } from '../../common/lazy.ts';
import { VERSION } from '../../common/version.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { type PageFile, readMarkup, readPageFiles, toPageFile } from '../page-files.ts';

interface Page {
  readonly path: string;
  /** In the navigation, and of its files. */
  readonly name: string;
  readonly file: string;
  readonly policy: string;
  /** Beside those of every page. */
  readonly styles: readonly string[];
}

/** Trusted types: no text becomes markup or code, whatever a model or a file says. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/** Swagger UI writes styles and markup of its own. */
const DOCS_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

const PAGES: readonly Page[] = [
  { path: '/', name: 'Playground', file: 'playground', policy: POLICY, styles: [] },
  {
    path: '/fine-tuning',
    name: 'Fine-tuning',
    file: 'fine-tuning',
    policy: POLICY,
    styles: ['uplot.css'],
  },
  { path: '/adapters', name: 'Adapters', file: 'adapters', policy: POLICY, styles: [] },
  { path: '/status', name: 'Status', file: 'status', policy: POLICY, styles: ['uplot.css'] },
  {
    path: '/docs',
    name: 'API docs',
    file: 'docs',
    policy: DOCS_POLICY,
    styles: ['swagger-ui.css'],
  },
];

interface Site {
  /** By route. */
  readonly pages: ReadonlyMap<string, PageFile>;
  readonly files: ReadonlyMap<string, PageFile>;
}

/** To be added before requests need a key. */
export function addPageRoutes(app: OpenAPIHono<HttpEnv>): void {
  const site = lazy(readSite); // nothing is read at start
  for (const { path, policy } of PAGES) {
    app.get(path, async (c) => {
      c.header('content-security-policy', policy);
      c.header('cross-origin-opener-policy', 'same-origin');
      return answer(c, (await site.get()).pages.get(path)!);
    });
  }
  app.get('/pages/:file', async (c, next) => {
    const file = (await site.get()).files.get(c.req.param('file'));
    return file ? answer(c, file) : next();
  });
}

async function readSite(): Promise<Site> {
  const layout = await readMarkup('layout');
  const pages = PAGES.map(async (page) => {
    const html = render(layout, page, await readMarkup(page.file));
    return [page.path, toPageFile(Buffer.from(html), 'text/html; charset=utf-8')] as const;
  });
  return { pages: new Map(await Promise.all(pages)), files: await readPageFiles() };
}

/** Asked for anew each time and answered with 304: an upgraded server never runs beside modules of the one before. */
function answer(c: Context, { bytes, type, etag }: PageFile): Response {
  c.header('etag', etag);
  c.header('cache-control', 'no-cache');
  if (matches(c.req.header('if-none-match'), etag)) return c.body(null, 304);
  return c.body(new Uint8Array(bytes), 200, { 'content-type': type });
}

/** Of any strength: a proxy that compresses weakens the tag. */
function matches(header: string | undefined, etag: string): boolean {
  const tags = header?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? [];
  return tags.includes(etag) || tags.includes('*');
}

/** Fills the layout's `{{…}}`; what is filled in is this server's own. */
function render(layout: string, page: Page, main: string): string {
  const nav = PAGES.map(({ path, name }) => {
    const current = path === page.path ? ' aria-current="page"' : '';
    return `<li><a href="${path === '/' ? './' : path.slice(1)}"${current}>${name}</a></li>`;
  });
  const styles = [...page.styles, 'style.css'].map(
    (name) => `<link rel="stylesheet" href="pages/${name}">`,
  );
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
