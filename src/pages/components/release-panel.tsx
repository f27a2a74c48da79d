// The release of a version: its share of the requests, the figures of each version next to it, and the next step.
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Adapter } from '../../contracts/management-api.ts';
import { count, duration, percent } from '../format.ts';
import { type AdapterStore, createAdapter, moveTo } from '../store/adapter.ts';
import { type Alias, modelOf, percentOf, stateText, stepsOf } from '../store/release-plan.ts';
import { number, Table } from './parts.tsx';
import { Problem } from './problem.tsx';

const LATEST = 'latest';

interface ReleasePanelProps {
  readonly name: string;
  readonly version: number;
  /** Default: the user. */
  readonly owner?: string;
}

/** Releases a version of an adapter step by step, once the adapter was read. */
export function ReleasePanel({ name, version, owner }: ReleasePanelProps) {
  const store = useMemo(() => createAdapter(name, owner), [name, owner]);
  useEffect(() => store.watch(), [store]);
  const adapter = store.adapter.value;
  if (!adapter?.versions.some((one) => one.version === version)) {
    const isGone = adapter !== undefined || store.isMissing.value;
    if (isGone) return <p id="release-gone">This version has been deleted.</p>;
    return <Problem text={store.problem.value} />;
  }
  const alias = adapter.aliases.find((one) => one.alias === LATEST);
  const shown = [...(alias?.leads_to ?? []), ...(alias?.previous ?? [])].map((one) => one.version);
  return (
    <div class="stack">
      <Problem text={store.problem.value} />
      <ReleaseSteps store={store} alias={LATEST} version={version}>
        {stateText(modelOf(name, LATEST), alias, version)}
      </ReleaseSteps>
      <TrafficTable
        adapter={adapter}
        aliases={alias ? [alias] : []}
        versions={[version, ...shown]}
      />
    </div>
  );
}

interface ReleaseStepsProps {
  readonly store: AdapterStore;
  readonly alias: string;
  readonly version: number;
  /** Who gets which version now. */
  readonly children: ComponentChildren;
}

/** The state of a release and its next steps. The state takes the focus of a step, which disappears once it is done. */
export function ReleaseSteps({ store, alias: name, version, children }: ReleaseStepsProps) {
  const state = useRef<HTMLDivElement>(null);
  const adapter = store.adapter.value;
  const alias = adapter?.aliases.find((one) => one.alias === name);
  return (
    <>
      <div role="status" tabIndex={-1} ref={state}>
        {children}
      </div>
      {adapter?.is_writable && (
        <div class="row">
          {stepsOf(alias, version).map(({ label, isForward, moves }) => (
            <button
              key={label}
              type="button"
              class={isForward ? 'small primary' : 'small'}
              aria-label={`${label}: ${modelOf(store.name, name)}`}
              disabled={store.isChanging.value}
              onClick={() => {
                state.current!.focus();
                void store.change(...moves.map((target) => moveTo(name, target)));
              }}
            >
              {label}
            </button>
          ))}
        </div>
      )}
    </>
  );
}

interface TrafficTableProps {
  readonly adapter: Adapter;
  readonly aliases: readonly Alias[];
  readonly versions: readonly number[];
}

const FIGURES = ['Requests', 'Running', 'Errors', 'First token', 'Each further token'];

/** The shares of aliases' requests, and the figures of this server, by version. */
export function TrafficTable({ adapter, aliases, versions }: TrafficTableProps) {
  const latency = (ms: number | null | undefined) => (ms == null ? '' : duration(ms / 1000));
  return (
    <Table
      caption="Traffic by version on this server since it started"
      columns={[
        'Version',
        ...[...aliases.map(({ alias }) => `Share of ${alias}`), ...FIGURES].map(number),
      ]}
      rows={adapter.versions
        .filter(({ version }) => versions.includes(version))
        .map(({ version, traffic }) => [
          `Version ${version}`,
          ...aliases.map(({ leads_to }) => percent(percentOf(leads_to, version) / 100)),
          ...[traffic?.requests, traffic?.running, traffic?.errors].map((n) => count(n ?? 0)),
          latency(traffic?.first_token_ms),
          latency(traffic?.token_ms),
        ])}
    />
  );
}
