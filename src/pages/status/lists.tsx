// The lists of the status page: running requests with the reasons for waiting, and the user's newest jobs and batches.
import type { BatchObject } from '../../contracts/batch-object.ts';
import type { RequestList } from '../../contracts/management-api.ts';
import { number, Panel, Table } from '../components/parts.tsx';
import { jobName } from '../fine-tuning/facts.ts';
import { JobState } from '../fine-tuning/job-state.tsx';
import { count, dateAndTime, duration, timeOfDay } from '../format.ts';
import { stateText } from '../request-state.ts';
import { cpuBetween, reasonsOf, recentText } from './figures.ts';
import type { StatusStore } from './store.ts';

const MAX_SHOWN = 30;

/** The running and recent requests, and why they are slow. Operators see the requests of all tenants. */
export function RequestsPanel({ store }: { store: StatusStore }) {
  const list = store.requests.value;
  const [before, last] = store.readings.value.slice(-2);
  if (!list) return null;
  const shown = list.data.slice(0, MAX_SHOWN);
  const latest = last ?? before!;
  const load = {
    engine: latest.status.engine,
    cpu: cpuBetween(before, last),
    cores: store.history.value?.server.cores,
  };
  const figures = ['Prompt', 'Output', 'Waiting', 'Prefill', 'Decode'].map(number);
  return (
    <Panel id="requests" title="Why is it slow?">
      <ul id="reasons">
        {reasonsOf(list, load).map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
      <Table
        caption="Running and recent requests"
        columns={['Model', 'Tenant', 'State', ...figures, 'Arrived']}
        keys={shown.map(({ id }) => id)}
        rows={shown.map((one) => requestRow(one, list.is_training))}
      />
      <p class="help">{recentText(list.data)}</p>
    </Panel>
  );
}

function requestRow(request: RequestList['data'][number], isTraining: boolean) {
  const { outcome, state } = request;
  const isGood = outcome === null || outcome === 'ok';
  const time = (ms: number | null) => (ms === null ? '' : duration(ms / 1000));
  return [
    request.model,
    request.tenant,
    <span class={isGood ? '' : 'bad-state'} title={state}>
      {outcome === null ? stateText(request, isTraining) : outcome.replaceAll('_', ' ')}
    </span>,
    ...[request.prompt_tokens, request.output_tokens].map(count),
    ...[request.waiting_ms, request.prefill_ms, request.decode_ms].map(time),
    timeOfDay(request.arrived_at),
  ];
}

/** The newest jobs; nothing on a server without fine-tuning. */
export function JobsPanel({ store }: { store: StatusStore }) {
  const list = store.jobs.data.value;
  if (!list) return null;
  return (
    <Panel id="jobs" title="Your jobs">
      {list.data.length === 0 ? (
        <p class="help" id="no-jobs">
          No jobs yet.
        </p>
      ) : (
        <Table
          caption="Your fine-tuning jobs"
          columns={['Job', 'Status', 'Created']}
          keys={list.data.map(({ id }) => id)}
          rows={list.data.map((job) => [
            <a href={`fine-tuning#${job.id}`}>{jobName(job)}</a>,
            <JobState job={job} />,
            dateAndTime(job.created_at),
          ])}
        />
      )}
    </Panel>
  );
}

/** The newest batches; nothing if there are none. */
export function BatchesPanel({ store }: { store: StatusStore }) {
  const list = store.batches.data.value;
  if (!list?.data.length) return null;
  return (
    <Panel id="batches" title="Your batches">
      <Table
        caption="Your batches"
        columns={['Batch', 'Status', ...['Answered', 'Errors', 'Tokens'].map(number), 'Created']}
        keys={list.data.map(({ id }) => id)}
        rows={list.data.map(batchRow)}
      />
    </Panel>
  );
}

function batchRow({ id, status, request_counts: counts, usage, errors, created_at }: BatchObject) {
  const { total, completed, failed } = counts;
  const [fault] = errors?.data ?? [];
  const title = fault && `${fault.line === null ? '' : `Line ${fault.line}: `}${fault.message}`;
  return [
    <code>{id}</code>,
    <span class={`pill ${status}`} title={title}>
      {status.replace('_', ' ')}
    </span>,
    total === 0 ? '' : `${count(completed + failed)} of ${count(total)}`,
    count(failed),
    count(usage.total_tokens),
    dateAndTime(created_at),
  ];
}
