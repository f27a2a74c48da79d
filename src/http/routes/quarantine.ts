// Shows operators which adapters and requests are refused because the engine crashed while running them, and readmits them.
import { z } from '@hono/zod-openapi';
import { ServeError } from '../../common/errors.ts';
import type { Deps } from '../deps.ts';
import { requireAdmin } from '../wire/middleware.ts';
import { type App, addRoute, json } from '../wire/route.ts';

const PATH = '/v1/quarantine';

const entrySchema = z
  .object({
    id: z.string(),
    object: z.literal('quarantine'),
    kind: z.enum(['adapter', 'request']),
    crashes: z.int(),
    remaining_seconds: z.int(),
  })
  .openapi('Quarantined');

const listSchema = z.object({ object: z.literal('list'), data: z.array(entrySchema) });
const releasedSchema = z.object({ released: z.array(z.string()) });

const RELEASES = [
  { name: `DELETE ${PATH}`, summary: 'Admit everything again (admin)' },
  { name: `DELETE ${PATH}/{id}`, summary: 'Admit one adapter or request again (admin)' },
] as const;

/** Adds the routes. They need an admin key unless the server has no keys. */
export function addQuarantineRoutes(
  app: App,
  { client: { quarantine } }: Deps,
  { hasKeys }: { hasKeys: boolean },
): void {
  const admit = hasKeys ? requireAdmin : () => {};
  addRoute(app, `GET ${PATH}`, {
    summary: 'List what is refused because the engine crashed with it (admin)',
    response: json(listSchema),
    errors: [403],
    admit,
    handle() {
      const data = quarantine.list().map(({ remainingS, ...entry }) => {
        return { object: 'quarantine', ...entry, remaining_seconds: remainingS };
      });
      return { object: 'list', data };
    },
  });
  for (const { name, summary } of RELEASES) {
    addRoute(app, name, {
      summary,
      response: json(releasedSchema),
      admit,
      handle(c) {
        const id = c.req.param('id');
        const ids = id === undefined ? quarantine.list().map((entry) => entry.id) : [id];
        if (id === undefined) quarantine.clear();
        else if (!quarantine.release(id)) {
          throw new ServeError('not_found', `"${id}" is not quarantined.`, { param: 'id' });
        }
        return { released: ids };
      },
    });
  }
}
