// The API's document, its browser and the landing page. Nothing is loaded from elsewhere: the browser's files come
// from its package, and the pages' policy allows nothing but this server.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { VERSION } from '../../version.ts';
import type { Deps } from '../deps.ts';
import type { HttpEnv } from '../middleware/tenant.ts';

const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const ASSETS: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
};

const DOCS_PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>lorikeet API</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
`;

const START_SCRIPT =
  "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', validatorUrl: null });\n";

export function addDocsRoutes(app: OpenAPIHono<HttpEnv>, { model }: Deps): void {
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'lorikeet',
      version: VERSION,
      description: 'One base model, an adapter per request, in the shape of the OpenAI API.',
    },
    servers: [{ url: '/' }],
  });
  app.get('/', (c) => page(c, landingPage(model.id)));
  app.get('/docs', (c) => page(c, DOCS_PAGE));
  app.get('/docs/start.js', (c) =>
    c.body(START_SCRIPT, 200, { 'content-type': 'text/javascript' }),
  );
  app.get('/docs/:asset', async (c, next) => {
    const type = ASSETS[c.req.param('asset')];
    if (type === undefined) return next();
    const folder = path.dirname(createRequire(import.meta.url).resolve('swagger-ui-dist'));
    const bytes = await readFile(path.join(folder, c.req.param('asset')));
    return c.body(bytes, 200, { 'content-type': type, 'cache-control': 'max-age=3600' });
  });
}

function page(c: Context, html: string): Response {
  c.header('content-security-policy', PAGE_POLICY);
  return c.html(html);
}

function landingPage(model: string): string {
  const name = model.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>lorikeet</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; margin: 4rem auto; max-width: 36rem; padding: 0 1rem }</style></head>
<body>
<h1>lorikeet ${VERSION}</h1>
<p>Serves <b>${name}</b>, with an adapter per request.</p>
<ul>
<li><a href="/docs">API</a> (<a href="/openapi.json">OpenAPI document</a>)</li>
<li><a href="/v1/models">Models</a></li>
<li><a href="/health">Health</a></li>
</ul>
</body>
</html>
`;
}
