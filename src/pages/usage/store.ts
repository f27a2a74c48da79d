// The state of the page: usage of the last days, the limits of the user's tenant, and for operators those of all tenants.
import { signal } from '@preact/signals';
import type { Me, TenantSettings } from '../../contracts/management-api.ts';
import type { UsagePage } from '../../contracts/usage-api.ts';
import { request, requestJson } from '../api.ts';
import { pagedQuery } from '../store/pages.ts';
import { query } from '../store/query.ts';
import { type Limit, limitsOf, toFigures } from './figures.ts';

const DAY_S = 86_400;

/** Everything that the page shows. */
export type UsageStore = ReturnType<typeof createUsageStore>;

/** Nothing is read yet. */
export function createUsageStore(read = readUsage) {
  const days = signal(7);
  const usage = query(() => read(days.value));
  return {
    ...usage,
    days,
    /** Only an admin key reads them. */
    tenants: pagedQuery<TenantSettings>('v1/tenants?limit=20'),
    /** Reads other days. */
    show(wanted: number) {
      days.value = wanted;
      return usage.refresh();
    },
  };
}

async function readUsage(days: number) {
  let limits: Limit[] = [];
  const read = async (path: string) => {
    const response = await request(path);
    limits = limitsOf(response.headers); // not those of /v1/me, which does not count as a request
    return response.json();
  };
  const [buckets, me] = await Promise.all([
    readDays(firstDay(days), days, read),
    requestJson<Me>('v1/me'),
  ]);
  return { figures: toFigures(buckets), limits, me };
}

/** Returns the start of the first of the last days, today included. */
export function firstDay(days: number): number {
  return Math.floor(Date.now() / 1000 / DAY_S - days + 1) * DAY_S;
}

/** Reads days by tenant. A page may end early, because its results are limited. */
export async function readDays(
  startS: number,
  days: number,
  read: (path: string) => Promise<UsagePage>,
): Promise<UsagePage['data']> {
  const query = `start_time=${startS}&limit=${days}&group_by=project_id`;
  let buckets: UsagePage['data'] = [];
  let page: UsagePage | undefined;
  do {
    const next = page ? `&page=${page.next_page}` : '';
    page = await read(`v1/organization/usage/completions?${query}${next}`);
    buckets = [...buckets, ...page.data];
  } while (page.has_more);
  return buckets;
}
