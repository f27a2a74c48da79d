// The usage page: tokens by tenant and day, limits, keys, and the commands that manage keys.
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { byId, showLoaded } from '../browser.ts';
import { CopyButton } from '../components/copy-button.tsx';
import { ChoiceField } from '../components/fields.tsx';
import { Pairs } from '../components/pairs.tsx';
import { number, Panel, Table } from '../components/parts.tsx';
import { Problem } from '../components/problem.tsx';
import { compact, count } from '../format.ts';
import './usage.css';
import type { Limit, UsageFigures } from './figures.ts';
import { createUsageStore, type UsageStore } from './store.ts';
import { Tenants } from './tenants.tsx';

const POLL_MS = 10_000;

const SPANS = [
  ['7', '7 days'],
  ['31', '31 days'],
] as const;
const COMMANDS = {
  'A key for a tenant': 'lorikeet keys create --tenant NAME',
  'An admin key': 'lorikeet keys create --tenant NAME --admin',
  'A key that may only read': 'lorikeet keys create --tenant NAME --read-only',
  'All keys': 'lorikeet keys list',
  'Revoke a key': 'lorikeet keys revoke ID',
};

function UsagePage({ store }: { store: UsageStore }) {
  const { data, isRead, problem, days, show, tenants } = store;
  const usage = data.value;
  const isOperator = usage?.me.is_admin === true && usage.me.needs_key;
  const isLoaded = isRead.value && (!isOperator || tenants.isRead.value);
  useEffect(() => (isOperator ? tenants.follow(POLL_MS) : undefined), [isOperator]);
  useEffect(() => {
    if (isLoaded) showLoaded();
  }, [isLoaded]);
  return (
    <>
      <div class="head">
        <h1>Usage</h1>
        <ChoiceField
          id="span"
          label="Span"
          options={SPANS}
          value={String(days.value)}
          onChange={(span) => show(Number(span))}
        />
      </div>
      <Problem id="problem" text={problem.value} />
      {usage && (
        <>
          <UsagePanel usage={usage.figures} isAdmin={usage.me.is_admin} />
          {isOperator && <Tenants tenants={tenants} usage={usage.figures.tenants} />}
          <div class="columns">
            <LimitsPanel limits={usage.limits} tenant={usage.me.id} />
            <KeysPanel />
          </div>
        </>
      )}
    </>
  );
}

function UsagePanel({ usage, isAdmin }: { usage: UsageFigures; isAdmin: boolean }) {
  const figures = ['Requests', 'Prompt tokens', 'From the cache', 'Generated tokens'].map(number);
  return (
    <Panel id="usage" title={isAdmin ? 'Tokens by tenant and day' : 'Your tokens by day'}>
      {usage.tenants.length === 0 ? (
        <p class="empty">No requests in these days.</p>
      ) : (
        <>
          <Bars usage={usage} />
          <Table
            caption="Usage by tenant"
            columns={['Tenant', ...figures]}
            keys={usage.tenants.map(({ tenant }) => tenant)}
            rows={usage.tenants.map(({ tenant, requests, prompt, cached, generated }) => [
              <>
                <i class={`swatch ${colorOf(usage.parts.indexOf(tenant), usage)}`} />
                {tenant}
              </>,
              ...[requests, prompt, cached, generated].map(count),
            ])}
          />
        </>
      )}
      <p class="help">Days begin at midnight in UTC. All servers count together.</p>
    </Panel>
  );
}

/** The class of a part; tenants without a part of their own share the last one. */
function colorOf(part: number, { parts }: UsageFigures): string {
  return `swatch-${part < 0 ? parts.length - 1 : part}`;
}

const HEIGHT = 200;
const WIDTH = 40;

/** A bar for each day, with a part for each tenant. */
function Bars({ usage }: { usage: UsageFigures }) {
  const most = usage.days.reduce((largest, { total }) => Math.max(largest, total), 1);
  const dayName = (startS: number) =>
    new Date(startS * 1000).toLocaleDateString(undefined, {
      day: 'numeric',
      month: 'short',
      timeZone: 'UTC',
    });
  return (
    <div class="bars" role="img" aria-label={`Tokens by day, at most ${compact(most)}`}>
      {usage.days.map(({ startS, tokens, total }) => {
        let top = HEIGHT;
        return (
          <figure key={startS} title={`${dayName(startS)}: ${count(total)} tokens`}>
            <figcaption>{total === 0 ? '' : compact(total)}</figcaption>
            <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
              {tokens.map((one, part) => {
                const height = (one / most) * HEIGHT;
                top -= height;
                return (
                  <rect
                    key={usage.parts[part]}
                    class={`swatch-${part}`}
                    y={top}
                    width={WIDTH}
                    height={height}
                  />
                );
              })}
            </svg>
            <small>{dayName(startS)}</small>
          </figure>
        );
      })}
    </div>
  );
}

interface LimitsProps {
  readonly limits: readonly Limit[];
  readonly tenant: string;
}

function LimitsPanel({ limits, tenant }: LimitsProps) {
  return (
    <Panel id="limits" title="Your limits">
      {limits.length === 0 ? (
        <p>Your tenant, {tenant}, has no limits.</p>
      ) : (
        <Table
          caption="Limits per minute"
          columns={['Per minute', number('Limit'), number('Left now')]}
          rows={limits.map(({ name, perMinute, left }) => [name, count(perMinute), count(left)])}
        />
      )}
      <p class="help">
        Limits are settings of a tenant in <code>keys.json</code>. A change takes effect within two
        seconds.
      </p>
    </Panel>
  );
}

function KeysPanel() {
  return (
    <Panel id="keys" title="Keys">
      <Pairs
        entries={Object.entries(COMMANDS).map(([name, command]) => [
          name,
          <>
            <code>{command}</code> <CopyButton read={() => command} what="the command" />
          </>,
        ])}
      />
      <p class="help">Keys are created on the server, and never sent to a page.</p>
    </Panel>
  );
}

const store = createUsageStore();
void store.refresh();
addEventListener('signin', () => void store.refresh());
render(<UsagePage store={store} />, byId('main'));
