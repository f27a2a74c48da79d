// GET /v1/tenants: shows operators the tenants in the keys file, with their limits, their use and their keys, without secrets.
import { z } from '@hono/zod-openapi';
import { type TenantSettings, tenantListSchema } from '../../contracts/management-api.ts';
import { toUnixSeconds } from '../../contracts/openai.ts';
import type { Access } from '../../tenants/access.ts';
import type { Deps } from '../deps.ts';
import { pageQuery } from '../schema/fields.ts';
import { requireAdmin } from '../wire/middleware.ts';
import { type App, addRoute, json } from '../wire/route.ts';
import { toListResponse } from './api-objects.ts';

type Keyed = ReturnType<NonNullable<Access['tenants']>>[number];

/** The most keys that are listed of a tenant. A page of 100 tenants then takes 2 MB. */
const MAX_KEYS = 100;

const querySchema = z.strictObject(pageQuery(20));

/** Adds the route. */
export function addTenantsRoute(
  app: App,
  { rateLimits }: Pick<Deps, 'rateLimits'>,
  tenants: NonNullable<Access['tenants']>,
): void {
  addRoute(app, 'GET /v1/tenants', {
    summary: 'List the tenants with their limits, use and keys (admin)',
    query: querySchema,
    response: json(tenantListSchema),
    handle(c, { after = '', limit }) {
      requireAdmin(c);
      const rest = tenants().filter(({ tenant }) => tenant.id > after);
      const page = { items: rest.slice(0, limit), hasMore: rest.length > limit };
      return toListResponse(page, (one) => toSettings(one, rateLimits.use(one.tenant)));
    },
  });
}

function toSettings({ tenant, keys }: Keyed, use: TenantSettings['use']): TenantSettings {
  const { id, defaultModel, allowedAdapters, weight, limits } = tenant;
  return {
    object: 'tenant.settings',
    id,
    default_model: defaultModel ?? null,
    allowed_adapters: allowedAdapters ? [...allowedAdapters] : null,
    weight,
    limits: {
      requests_per_minute: limits.requestsPerMinute ?? null,
      tokens_per_minute: limits.tokensPerMinute ?? null,
      concurrent_requests: limits.concurrentRequests ?? null,
    },
    use,
    key_count: keys.length,
    keys: keys.slice(0, MAX_KEYS).map((key) => ({
      id: key.id,
      name: key.name ?? null,
      is_admin: key.admin,
      is_read_only: key.readOnly ?? false,
      created_at: toUnixSeconds(Date.parse(key.created)),
    })),
  };
}
