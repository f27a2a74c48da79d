// Who uses an adapter: requests and tokens by tenant, summed over all servers.
import { useEffect, useMemo } from 'preact/hooks';
import type { UsagePage } from '../../contracts/usage-api.ts';
import { requestJson } from '../api.ts';
import { number, Panel, Table } from '../components/parts.tsx';
import { count } from '../format.ts';
import { query } from '../store/query.ts';
import { toFigures } from '../usage/figures.ts';
import { firstDay, readDays } from '../usage/store.ts';

/** The most days that the API returns at once. */
const DAYS = 31;
const POLL_MS = 10_000;

/** The tenants that used the adapter lately. A tenant without an admin key sees its own use. */
export function Users({ name }: { readonly name: string }) {
  const usage = useMemo(() => {
    const read = (path: string) =>
      requestJson<UsagePage>(`${path}&models=${encodeURIComponent(name)}`, { isQuiet: true });
    return query(() => readDays(firstDay(DAYS), DAYS, read));
  }, [name]);
  useEffect(() => usage.follow(POLL_MS), [usage]);
  const days = usage.data.value;
  if (!days) return null; // such as on a server without usage
  const { tenants } = toFigures(days);
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
