// Compares jobs: results and settings in a table, loss curves in shared charts.
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import type { PageMetric } from '../../contracts/metrics.ts';
import { requestJson } from '../api.ts';
import { LineChart } from '../components/line-chart.tsx';
import { Pairs } from '../components/pairs.tsx';
import { Panel, Table } from '../components/parts.tsx';
import { Problem } from '../components/problem.tsx';
import { Title } from '../components/title.tsx';
import { counted } from '../format.ts';
import { query } from '../store/query.ts';
import { METRICS } from '../tables.ts';
import { type Events, overlayCurves, readEvents, stepsOf } from './events.ts';
import { isFinished, jobName, learnsRewards } from './facts.ts';
import { compareTexts, type JobSteps } from './settings.ts';

const POLL_MS = 5_000;
const CHARTS = ['compared-training', 'compared-validation'];
const COLORS = ['--accent', '--second', '--third', '--ink'];

/** A job with its events and the metrics of its steps. */
interface Compared extends JobSteps {
  readonly events: Events;
}

async function readJob(id: string, last: Compared | undefined): Promise<Compared> {
  const job = await requestJson<FineTuningJob>(`v1/fine_tuning/jobs/${id}`);
  const events = await readEvents(id, last?.events ?? []);
  return { job, events, steps: stepsOf(events) };
}

/** Reads jobs while they are compared. */
function createComparison(ids: readonly string[]) {
  return query<Compared[]>((last) => Promise.all(ids.map((id, i) => readJob(id, last?.[i]))), {
    isFinal: (all) => all.every(({ job }) => isFinished(job)),
  });
}

/** The comparison of jobs. */
export function Comparison({ ids }: { readonly ids: readonly string[] }) {
  const [store] = useState(() => createComparison(ids));
  useEffect(() => store.follow(POLL_MS), []);
  const compared = store.data.value ?? [];
  const isRewarded = compared.every(({ job }) => learnsRewards(job));
  const metrics = METRICS.filter(({ curve }) => curve === (isRewarded ? 'reward' : 'loss'));
  return (
    <div id="comparison" class={store.isRead.value ? '' : 'loading'}>
      <Title id="comparison-title" name="Compare jobs" />
      <Problem text={store.problem.value} />
      {compared.length > 0 && (
        <>
          <ComparisonTable compared={compared} />
          <div class="columns">
            {metrics.map((metric, i) => (
              <SharedChart key={metric.name} id={CHARTS[i]!} metric={metric} compared={compared} />
            ))}
          </div>
        </>
      )}
    </div>
  );
}

interface ComparedProps {
  readonly compared: readonly Compared[];
}

/** Results and settings. Rows that all jobs share are folded. */
function ComparisonTable({ compared }: ComparedProps) {
  const { different, equal } = compareTexts(compared, Date.now() / 1000);
  const columns = labelsOf(compared).map((label, i) => (
    <a href={`#${compared[i]!.job.id}`}>
      <i class={`swatch swatch-${i}`} aria-hidden="true" />
      {label}
    </a>
  ));
  return (
    <Panel id="compared" title="Results and settings">
      <Table isMatrix caption="Jobs compared" columns={['', ...columns]} rows={different} />
      <details class="more" id="compared-equal">
        <summary>{counted(equal.length, 'row is', 'rows are')} the same</summary>
        <Pairs entries={equal.map(([name = '', text]) => [name, text])} />
      </details>
    </Panel>
  );
}

/** The names of the jobs, each followed by the end of its id if another job has the same name. */
function labelsOf(compared: readonly Compared[]): string[] {
  const names = compared.map(({ job }) => jobName(job));
  return names.map((name, i) => {
    const isUnique = names.indexOf(name) === names.lastIndexOf(name);
    return isUnique ? name : `${name} …${compared[i]!.job.id.slice(-4)}`;
  });
}

/** One metric of all jobs. */
function SharedChart({
  id,
  metric: { name, label },
  compared,
}: ComparedProps & { readonly id: string; readonly metric: PageMetric }) {
  const options = useMemo(() => {
    const isSparse = name.startsWith('full_valid');
    const lines = labelsOf(compared).map((job, i) => ({ label: job, color: COLORS[i]!, isSparse }));
    return { name: `${label} by step`, lines };
  }, [name]);
  const points = useMemo(() => {
    const steps = compared.map((job) => job.steps);
    return overlayCurves(steps, name);
  }, [compared]);
  return (
    <Panel id={id} title={label}>
      <LineChart options={options} points={points} summary={`${compared.length} jobs`} />
    </Panel>
  );
}
