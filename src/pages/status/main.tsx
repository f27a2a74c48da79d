// The status page: load, why it is slow, speed, the adapter cache, traffic, jobs and batches.
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { byId, showLoaded } from '../browser.ts';
import { duration, timeOfDay } from '../format.ts';
import { isFull, type Reading } from './figures.ts';
import { BatchesPanel, JobsPanel, RequestsPanel } from './lists.tsx';
import { AdapterCache, LastHours, RatePanel, ServerPanel, Tiles, Traffic } from './panels.tsx';
import './status.css';
import { createStatusStore, type StatusStore } from './store.ts';

function StatusPage({ store }: { store: StatusStore }) {
  const connection = store.connection.value;
  const last = store.readings.value.at(-1);
  useEffect(() => {
    if (connection.kind !== 'connecting') showLoaded();
  }, [connection.kind]);
  const isAway = connection.kind === 'away';
  const isBad = isAway || last?.status.is_ready === false;
  return (
    <>
      <div class="head">
        <h1>Status</h1>
        <p class={isBad ? 'state bad' : 'state'} id="state" role="status">
          {stateText(store)}
        </p>
      </div>
      <p class="problem" id="problem" role="alert" hidden={!('problem' in connection)}>
        {'problem' in connection && connection.problem}
        {isAway && `${ageText(last)} This page keeps trying.`}
      </p>
      {last && connection.kind !== 'signed out' && <Figures store={store} isStale={isAway} />}
      {store.isPublicOnly.value && (
        <p class="help" id="more">
          With an admin key this page also shows latencies, the disk cache, the last hour, and
          traffic by model and tenant.
        </p>
      )}
    </>
  );
}

function stateText({ connection, readings }: StatusStore): string {
  const { value } = connection;
  if (value.kind === 'connecting') return 'Connecting …';
  if (value.kind === 'signed out') return 'Not signed in';
  if (value.kind === 'away') {
    const fault = value.isAnswering ? 'No figures' : 'Not reachable';
    return `${fault} since ${timeOfDay(value.sinceMs / 1000)}`;
  }
  const { at, status } = readings.value.at(-1)!;
  if (!status.is_ready) return 'Starting: the engine is not ready';
  return isFull(status) ? `Ready, up ${duration(at - status.server.started_at)}` : 'Ready';
}

function ageText(last: Reading | undefined): string {
  if (!last) return '';
  return ` The figures below are from ${timeOfDay(last.at)}${last.status.is_ready ? ', when it was ready' : ''}.`;
}

function Figures({ store, isStale }: { store: StatusStore; isStale: boolean }) {
  return (
    <div id="figures" class={isStale ? 'stale' : ''}>
      <Tiles store={store} />
      <RequestsPanel store={store} />
      <RatePanel store={store} />
      <div class="columns">
        <ServerPanel store={store} />
        <LastHours store={store} />
        <AdapterCache store={store} />
        <Traffic store={store} />
        <JobsPanel store={store} />
        <BatchesPanel store={store} />
      </div>
    </div>
  );
}

render(<StatusPage store={createStatusStore()} />, byId('main'));
