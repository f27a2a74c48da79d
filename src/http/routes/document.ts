// The API's document. The page that shows it is one of `pages.ts`.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { VERSION } from '../../version.ts';
import type { HttpEnv } from '../middleware/tenant.ts';

export function addDocumentRoute(app: OpenAPIHono<HttpEnv>): void {
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'lorikeet',
      version: VERSION,
      description: 'One base model, an adapter per request, in the shape of the OpenAI API.',
    },
    servers: [{ url: './' }], // relative to the document: below a base path, too
  });
}
