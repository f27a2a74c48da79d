// Sums usage by tenant and by day.
import type { UsagePage, UsageResult } from '../../contracts/usage-api.ts';

/** Further tenants are counted together. */
const MAX_TENANTS = 4;

/** The sums of a tenant. */
export interface TenantUsage {
  readonly tenant: string;
  readonly requests: number;
  readonly prompt: number;
  readonly cached: number;
  readonly generated: number;
}

/** A day, with the tokens of each tenant of the chart. */
interface UsageDay {
  readonly startS: number;
  readonly tokens: readonly number[];
  readonly total: number;
}

/** Usage in the form in which it is shown. */
export interface UsageFigures {
  /** The largest first. */
  readonly tenants: readonly TenantUsage[];
  /** The names of the chart's parts: the largest tenants, and the rest. */
  readonly parts: readonly string[];
  readonly days: readonly UsageDay[];
}

/** Sums up days that are grouped by tenant. */
export function toFigures(buckets: UsagePage['data']): UsageFigures {
  const sums = new Map<string, TenantUsage>();
  for (const result of buckets.flatMap(({ results }) => results)) {
    const tenant = result.project_id ?? '';
    const sum = sums.get(tenant);
    sums.set(tenant, {
      tenant,
      requests: (sum?.requests ?? 0) + result.num_model_requests,
      prompt: (sum?.prompt ?? 0) + result.input_tokens,
      cached: (sum?.cached ?? 0) + result.input_cached_tokens,
      generated: (sum?.generated ?? 0) + result.output_tokens,
    });
  }
  const size = ({ prompt, generated }: TenantUsage) => prompt + generated;
  const tenants = [...sums.values()].sort((a, b) => size(b) - size(a));
  const names = tenants.map(({ tenant }) => tenant);
  const named = names.length > MAX_TENANTS ? names.slice(0, MAX_TENANTS - 1) : names;
  const rest = names.length > named.length ? ['others'] : [];
  const days = buckets.map(({ start_time: startS, results }) => ({
    startS,
    total: tokensOf(results),
    tokens: [
      ...named.map((name) => tokensOf(results.filter((one) => one.project_id === name))),
      ...rest.map(() => tokensOf(results.filter((one) => !named.includes(one.project_id ?? '')))),
    ],
  }));
  return { tenants, parts: [...named, ...rest], days };
}

function tokensOf(results: readonly UsageResult[]): number {
  return results.reduce((sum, one) => sum + one.input_tokens + one.output_tokens, 0);
}

/** A limit of the user's tenant. */
export interface Limit {
  readonly name: 'requests' | 'tokens';
  readonly perMinute: number;
  readonly left: number;
}

/** Reads the limits from the headers of a response. A tenant without a limit has none. */
export function limitsOf(headers: Pick<Headers, 'get'>): Limit[] {
  return (['requests', 'tokens'] as const).flatMap((name) => {
    const perMinute = headers.get(`x-ratelimit-limit-${name}`);
    const left = Number(headers.get(`x-ratelimit-remaining-${name}`));
    return perMinute === null ? [] : [{ name, perMinute: Number(perMinute), left }];
  });
}
