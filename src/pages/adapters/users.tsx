// Who uses an adapter: requests and tokens by tenant, summed over all servers.
import { useEffect, useMemo } from 'preact/hooks';
import type { UsagePage } from '../../contracts/usage-api.ts';
import { requestJson } from '../api.ts';
import { number, Panel, Table } from '../components/parts.tsx';
import { count } from '../format.ts';
import { query } from '../store/query.ts';
import { toFigures } from '../usage/figures.ts';

/** The most days that the API returns at once. */
const DAYS = 31;
const DAY_S = 86_400;
const POLL_MS = 10_000;

/** The tenants that used the adapter lately. A tenant without an admin key sees its own use. */
export function Users({ name }: { readonly name: string }) {
  const usage = useMemo(() => {
    return query(() => requestJson<UsagePage>(usagePath(name), { isQuiet: true }));
  }, [name]);
  useEffect(() => usage.follow(POLL_MS), [usage]);
  const page = usage.data.value;
  if (!page) return null; // such as on a server without usage
  const { tenants } = toFigures(page.data);
  return (
    <Panel id="users" title="Who uses it">
      {tenants.length === 0 ? (
        <p class="help">Nobody in the last {DAYS} days.</p>
      ) : (
        <Table
          caption={`Use of the last ${DAYS} days on all servers`}
          columns={['Tenant', ...['Requests', 'Prompt tokens', 'Generated tokens'].map(number)]}
          keys={tenants.map(({ tenant }) => tenant)}
          rows={tenants.map(({ tenant, requests, prompt, generated }) => [
            tenant,
            ...[requests, prompt, generated].map(count),
          ])}
        />
      )}
    </Panel>
  );
}

function usagePath(name: string): string {
  const query = new URLSearchParams({
    start_time: String(Math.floor(Date.now() / 1000) - (DAYS - 1) * DAY_S),
    group_by: 'project_id',
    models: name,
    limit: String(DAYS),
  });
  return `v1/organization/usage/completions?${query}`;
}
