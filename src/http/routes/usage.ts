// GET /v1/organization/usage/completions: what tenants used, summed over all servers, by day, tenant, model and kind of request.
// A tenant sees its own usage, and an admin key sees everybody's.
import { toUnixSeconds } from '../../contracts/openai.ts';
import { LOCAL_TENANT } from '../../contracts/tenant.ts';
import { type UsagePage, type UsageResult, usagePageSchema } from '../../contracts/usage-api.ts';
import type { UsageRow } from '../../usage/usage-table.ts';
import type { UsageSide } from '../deps.ts';
import { type UsageQuery, usageQuery } from '../schema/usage.ts';
import { type App, addRoute, json } from '../wire/route.ts';

type Bucket = UsagePage['data'][number];

const EMPTY: UsageResult = {
  object: 'organization.usage.completions.result',
  input_tokens: 0,
  input_cached_tokens: 0,
  output_tokens: 0,
  input_audio_tokens: 0,
  output_audio_tokens: 0,
  num_model_requests: 0,
  project_id: null,
  model: null,
  batch: null,
  user_id: null,
  api_key_id: null,
  service_tier: null,
};

const DAY_S = 86_400;
/** A page ends with the day that reaches this many results, which take 3 MB. */
const MAX_RESULTS = 10_000;

/** Adds the route. `hasKeys` says whether this server refuses requests without a key. */
export function addUsageRoute(
  app: App,
  { recorder, archive, now }: UsageSide,
  { hasKeys }: { hasKeys: boolean },
): void {
  addRoute(app, 'GET /v1/organization/usage/completions', {
    summary: 'Sum up requests and tokens over all servers, by day, tenant and model',
    query: usageQuery,
    response: json(usagePageSchema),
    description: 'One bucket per day in UTC; further ones while has_more is true',
    async handle(c, query) {
      const tenant = c.get('tenant');
      const seesAll = tenant.isAdmin || (!hasKeys && tenant.id === LOCAL_TENANT.id);
      const { startS, endS, lastS } = daysOf(query, toUnixSeconds(now()));
      await recorder.flush(); // this server's part is complete then
      const days = await archive.read(startS * 1000, endS * 1000, { signal: c.req.raw.signal });
      const isWanted = createFilter(query, seesAll ? undefined : tenant.id);
      const data: Bucket[] = [];
      let resultCount = 0;
      let nextS = startS;
      for (; nextS < endS && resultCount < MAX_RESULTS; nextS += DAY_S) {
        const rows = days.find(({ startMs }) => startMs === nextS * 1000)?.rows ?? [];
        const results = group(rows.filter(isWanted), query.group_by);
        data.push({ object: 'bucket', start_time: nextS, end_time: nextS + DAY_S, results });
        resultCount += results.length;
      }
      const hasMore = nextS < lastS;
      return {
        object: 'page',
        data,
        has_more: hasMore,
        next_page: hasMore ? String(nextS) : null,
      };
    },
  });
}

/** Returns the days of a page, and the end of the last day of all pages. They begin at midnight in UTC. */
function daysOf({ start_time, end_time, page, limit }: UsageQuery, nowS: number) {
  const dayOf = (s: number) => s - (s % DAY_S);
  const startS = dayOf(Math.max(start_time, page ?? 0));
  const lastS = dayOf(Math.min(end_time ?? nowS + 1, nowS + 1) - 1) + DAY_S;
  return { startS, endS: Math.min(startS + limit * DAY_S, lastS), lastS };
}

/** @param tenant the only tenant whose usage may be seen; undefined: any */
function createFilter(
  { project_ids: tenants, models, batch }: UsageQuery,
  tenant: string | undefined,
): (row: UsageRow) => boolean {
  return (row) =>
    (tenant === undefined || row.tenant === tenant) &&
    (tenants?.includes(row.tenant) ?? true) &&
    (models?.includes(row.model) ?? true) &&
    (batch === undefined || row.isBatch === batch);
}

/** Adds up rows with the same values of these fields. Without fields, there is one result. */
function group(rows: readonly UsageRow[], fields: UsageQuery['group_by']): UsageResult[] {
  const results = new Map<string, UsageResult>();
  for (const row of rows) {
    const values = { project_id: row.tenant, model: row.model, batch: row.isBatch };
    const key = JSON.stringify(fields.map((field) => values[field]));
    const result = results.get(key) ?? { ...EMPTY };
    for (const field of fields) Object.assign(result, { [field]: values[field] });
    result.input_tokens += row.inputTokens;
    result.input_cached_tokens += row.cachedTokens;
    result.output_tokens += row.outputTokens;
    result.num_model_requests += row.requests;
    results.set(key, result);
  }
  return [...results.values()];
}
