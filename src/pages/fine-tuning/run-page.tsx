// The page of a run of a training loop that a client writes (Tinker's protocol): its loss and its checkpoints.
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { TinkerCheckpoint, TinkerRun } from '../../contracts/tinker-runs.ts';
import { requestJson } from '../api.ts';
import { CopyButton } from '../components/copy-button.tsx';
import { LineChart } from '../components/line-chart.tsx';
import { Pairs } from '../components/pairs.tsx';
import { Panel } from '../components/parts.tsx';
import type { Points } from '../components/points.ts';
import { Problem } from '../components/problem.tsx';
import { Title } from '../components/title.tsx';
import { TryLink } from '../components/try-link.tsx';
import { ago, count, dateAndTime, figure, size } from '../format.ts';
import { query } from '../store/query.ts';
import { formatted } from './facts.ts';

const POLL_MS = 2_000;

/** State → its class and what it means. */
const STATES = {
  training: { className: 'running', help: 'Its client is connected.' },
  ended: {
    className: '',
    help: 'Its client has left. A new run can continue from a checkpoint.',
  },
};

const CHART = { name: 'Loss by step', lines: [{ label: 'Loss per token', color: '--accent' }] };

/** The name that its client gave it in the metadata, else the end of its id: session and number. */
export function nameOf({ training_run_id: id, user_metadata: metadata }: TinkerRun): string {
  return metadata?.['name'] || `Run ${id.slice(-15).replace(':train:', '-')}`;
}

/** When its client was last heard of. */
export function activityOf({ last_request_time: time }: TinkerRun): string {
  return ago((Date.now() - Date.parse(time)) / 1000);
}

/** Whether its client is connected. */
export function RunState({ run }: { readonly run: TinkerRun }) {
  const { className, help } = STATES[run.lorikeet.state];
  return (
    <span class={`pill ${className}`} title={help}>
      {run.lorikeet.state}
    </span>
  );
}

/** Reads a run while it is shown, until it ends. */
function createRun(id: string) {
  const path = `api/v1/training_runs/${encodeURIComponent(id)}`;
  const read = async () => {
    const [run, { checkpoints }] = await Promise.all([
      requestJson<TinkerRun>(path),
      requestJson<{ checkpoints: TinkerCheckpoint[] }>(`${path}/checkpoints`),
    ]);
    return { run, checkpoints };
  };
  return query(read, { isFinal: ({ run }) => run.lorikeet.state === 'ended' });
}

/** The page of a run. */
export function RunPage({ id }: { readonly id: string }) {
  const [store] = useState(() => createRun(id));
  useEffect(() => store.follow(POLL_MS), []);
  const { run, checkpoints = [] } = store.data.value ?? {};
  return (
    <div id="run" class={store.isRead.value ? '' : 'loading'}>
      <Title id="run-name" name={run ? nameOf(run) : 'Run'}>
        {run ? nameOf(run) : 'Run'} {run && <RunState run={run} />}
      </Title>
      <p class="help" id="run-help">
        {run && STATES[run.lorikeet.state].help}
      </p>
      <Problem text={store.problem.value} />
      {run && (
        <div class="job-parts">
          <div>
            <LossPanel run={run} />
            <CheckpointsPanel checkpoints={checkpoints} />
          </div>
          <div>
            <FactsPanel run={run} />
          </div>
        </div>
      )}
    </div>
  );
}

function LossPanel({ run: { lorikeet } }: { readonly run: TinkerRun }) {
  const { losses = [], loss, steps } = lorikeet;
  const points = useMemo<Points>(
    () => [losses.map(([step]) => step), losses.map(([, value]) => value)],
    [losses],
  );
  return (
    <Panel id="run-chart" title="Loss">
      <LineChart
        options={CHART}
        points={points}
        summary={`step ${steps}, loss ${formatted(loss, figure)}`}
      />
    </Panel>
  );
}

function FactsPanel({ run }: { readonly run: TinkerRun }) {
  const metadata = Object.entries(run.user_metadata ?? {}).filter(([name]) => name !== 'name');
  return (
    <Panel id="run-facts-section" title="Run">
      <Pairs
        id="run-facts"
        entries={[
          ['Steps', count(run.lorikeet.steps)],
          ['Loss per token', formatted(run.lorikeet.loss, figure)],
          ['Base model', run.base_model],
          ['Rank', count(run.lora_rank)],
          ['Last request', activityOf(run)],
          ['Run ID', <code>{run.training_run_id}</code>],
          ...metadata,
        ]}
      />
    </Panel>
  );
}

/** The checkpoints, the newest first. */
function CheckpointsPanel({ checkpoints }: { readonly checkpoints: readonly TinkerCheckpoint[] }) {
  return (
    <Panel id="run-checkpoints-section" title="Checkpoints">
      <ul class="items" id="run-checkpoints">
        {checkpoints.toReversed().map((one) => (
          <Checkpoint key={one.tinker_path} checkpoint={one} />
        ))}
      </ul>
      {checkpoints.length === 0 && (
        <p class="help">None yet. save_state and save_weights_for_sampler make them.</p>
      )}
    </Panel>
  );
}

function Checkpoint({ checkpoint }: { readonly checkpoint: TinkerCheckpoint }) {
  const { tinker_path: path, checkpoint_type: type, lorikeet, ...rest } = checkpoint;
  const toDate = (text: string) => dateAndTime(Date.parse(text) / 1000);
  const expiry = rest.expires_at !== null && `expires ${toDate(rest.expires_at)}`;
  const facts = [toDate(rest.time), size(rest.size_bytes), expiry];
  return (
    <li>
      <div>
        <strong>{path.slice(path.lastIndexOf('/') + 1)}</strong>
        <span class="pill">{type === 'training' ? 'continues training' : 'weights only'}</span>
        <p class="help">{facts.filter(Boolean).join(' · ')}</p>
        <Pairs
          entries={Object.entries({ Path: path, Model: lorikeet.model }).map(([name, text]) => [
            name,
            <span>
              <code>{text}</code> <CopyButton read={() => text} what={`the ${name}`} />
            </span>,
          ])}
        />
      </div>
      <div class="row">
        <TryLink class="button small" model={lorikeet.model} />
      </div>
    </li>
  );
}
