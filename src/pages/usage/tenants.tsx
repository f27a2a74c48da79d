// The tenants and keys of the server, for operators.
import type { TenantSettings } from '../../contracts/management-api.ts';
import { CopyButton } from '../components/copy-button.tsx';
import { MoreButton } from '../components/more-button.tsx';
import { number, Panel, Table } from '../components/parts.tsx';
import { Problem } from '../components/problem.tsx';
import { count, dateAndTime } from '../format.ts';
import type { TenantUsage } from './figures.ts';
import type { UsageStore } from './store.ts';

interface TenantsProps {
  readonly tenants: UsageStore['tenants'];
  /** The sums of the days that the page shows. */
  readonly usage: readonly TenantUsage[];
}

/** The limits of each tenant and their use, and all keys. */
export function Tenants({ tenants: { items, problem, hasMore, more }, usage }: TenantsProps) {
  const all = items.value ?? [];
  const keys = all.flatMap((one) => one.keys.map((key) => ({ ...key, tenant: one.id })));
  const left = all.filter((one) => one.key_count > one.keys.length);
  return (
    <>
      <Panel id="tenants" title="Tenants">
        <Problem text={problem.value} />
        <Table
          caption="Limits of the tenants and their use"
          columns={[
            'Tenant',
            ...['Requests per minute', 'Tokens per minute', 'Running now'].map(number),
            ...['Tokens in these days', 'Weight', 'Keys'].map(number),
          ]}
          keys={all.map(({ id }) => id)}
          rows={all.map((one) => tenantRow(one, usage))}
        />
        <p class="help">
          A figure “3 of 60” is the use of the last minute and the limit. It counts what this server
          knows of.
        </p>
        <MoreButton id="more-tenants" hasMore={hasMore.value} more={more} />
      </Panel>
      <Panel id="all-keys" title="Keys of all tenants">
        {keys.length === 0 ? (
          <p class="empty">No keys.</p>
        ) : (
          <Table
            caption="Keys without their secrets"
            columns={['Key', 'Tenant', 'Name', 'Rights', 'Created', 'Revoke']}
            keys={keys.map(({ id }) => id)}
            rows={keys.map((key) => [
              <code>{`lorikeet_${key.id}_…`}</code>,
              key.tenant,
              key.name,
              <Rights isAdmin={key.is_admin} isReadOnly={key.is_read_only} />,
              dateAndTime(key.created_at),
              <CopyButton
                read={() => `lorikeet keys revoke ${key.id}`}
                what={`that revokes ${key.id}`}
                text="Copy command"
              />,
            ])}
          />
        )}
        {left.map((one) => (
          <p class="help" key={one.id}>
            {one.id} has {count(one.key_count)} keys; the newest {count(one.keys.length)} are shown.
          </p>
        ))}
      </Panel>
    </>
  );
}

function tenantRow(
  { id, limits, use, weight, key_count }: TenantSettings,
  usage: TenantsProps['usage'],
) {
  const sum = usage.find(({ tenant }) => tenant === id);
  return [
    id,
    ofLimit(use.requests, limits.requests_per_minute),
    ofLimit(use.tokens, limits.tokens_per_minute),
    ofLimit(use.running, limits.concurrent_requests),
    count(sum ? sum.prompt + sum.generated : 0),
    String(weight),
    count(key_count),
  ];
}

function ofLimit(used: number, limit: number | null): string {
  return limit === null ? count(used) : `${count(used)} of ${count(limit)}`;
}

function Rights({ isAdmin, isReadOnly }: { isAdmin: boolean; isReadOnly: boolean }) {
  return (
    <>
      {isAdmin && <span class="pill running">admin</span>}
      {isReadOnly && <span class="pill">read-only</span>}
    </>
  );
}
