// The lists of fine-tuning jobs and of training loops.
import { useEffect } from 'preact/hooks';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { MoreButton } from '../components/more-button.tsx';
import { number, Panel, Table } from '../components/parts.tsx';
import { SearchField } from '../components/search-field.tsx';
import { count, dateAndTime, duration, figure, percent } from '../format.ts';
import {
  accuracyOf,
  evaluationOf,
  formatted,
  jobName,
  learnsRewards,
  rewardOf,
  runSeconds,
} from './facts.ts';
import { JobState } from './job-state.tsx';
import { type ListStore, MAX_COMPARED } from './list-store.ts';
import { activityOf, nameOf, RunState } from './run-page.tsx';

const POLL_MS = 5_000;

interface ListProps {
  readonly store: ListStore;
}

/** Both lists. They are read again while they are shown. */
export function Lists({ store }: ListProps) {
  useEffect(() => store.jobs.follow(POLL_MS), []);
  useEffect(() => store.runs.follow(POLL_MS), []);
  return (
    <>
      <JobList store={store} />
      <RunList store={store} />
    </>
  );
}

function JobList({ store }: ListProps) {
  const { items, problem, isMissing, hasMore } = store.jobs;
  const matches = store.matches.value;
  const none = items.value?.length === 0 ? 'No jobs yet.' : 'No matching jobs.';
  const help = problem.value || (store.isLoaded.value && matches.length === 0 ? none : '');
  return (
    <section
      class={store.isLoaded.value ? 'panel' : 'panel loading'}
      id="jobs-section"
      aria-labelledby="jobs-title"
    >
      <div class="head">
        <h2 id="jobs-title">Your jobs</h2>
        <div class="row">
          <SearchField
            id="job-search"
            label="Search jobs"
            value={store.search}
            onInput={store.searchFor}
          />
          <CompareButton store={store} />
        </div>
      </div>
      {matches.length > 0 && (
        <div id="jobs">
          <Table
            caption="Your fine-tuning jobs"
            columns={[
              'Job',
              'Status',
              ...['Loss', 'Accuracy', 'Duration'].map(number),
              'Base model',
              'Created',
              'Compare',
            ]}
            keys={matches.map(({ id }) => id)}
            rows={matches.map((job) => jobRow(job, store))}
          />
        </div>
      )}
      <p class="help" id="jobs-help" role="status">
        {isMissing.value ? 'Fine-tuning is not available on this server.' : help}
      </p>
      <MoreButton id="more-jobs" hasMore={hasMore.value} more={store.jobs.more} />
    </section>
  );
}

/** Leads to the comparison of the chosen jobs. */
function CompareButton({ store }: ListProps) {
  const { size } = store.chosen.value;
  return (
    <button
      type="button"
      id="compare-button"
      disabled={size < 2 || size > MAX_COMPARED}
      title={size < 2 ? `Select 2 to ${MAX_COMPARED} jobs` : ''}
      onClick={() => {
        location.hash = `compare=${[...store.chosen.value].join()}`;
      }}
    >
      {size < 2 ? 'Compare' : `Compare ${size}`}
    </button>
  );
}

function jobRow(job: FineTuningJob, store: ListStore) {
  const nowS = Date.now() / 1000;
  const card = evaluationOf(job);
  const { valid_loss: validLoss, train_loss: trainLoss } = job.lorikeet;
  return [
    <a href={`#${job.id}`}>{jobName(job)}</a>,
    <JobState job={job} />,
    learnsRewards(job)
      ? formatted(rewardOf(job), (reward) => `reward ${figure(reward)}`)
      : formatted(card['validation_loss'] ?? validLoss ?? trainLoss, figure),
    formatted(accuracyOf(card).adapter, percent),
    formatted(runSeconds(job, nowS), duration),
    job.model,
    dateAndTime(job.created_at),
    <input
      type="checkbox"
      id={`compare-${job.id}`}
      checked={store.chosen.value.has(job.id)}
      aria-label={`Compare ${jobName(job)}`}
      onChange={(event) => store.choose(job.id, event.currentTarget.checked)}
    />,
  ];
}

/** The runs of training loops; nothing without any. */
function RunList({ store }: ListProps) {
  const list = store.runs.data.value;
  if (!list?.training_runs.length || !store.isLoaded.value) return null;
  return (
    <Panel id="runs-section" title="Your training loops">
      <div id="runs">
        <Table
          caption="Your training loops"
          columns={[
            ...['Run', 'State'],
            ...['Loss', 'Steps', 'Rank'].map(number),
            ...['Base model', 'Last request'],
          ]}
          keys={list.training_runs.map((run) => run.training_run_id)}
          rows={list.training_runs.map((run) => [
            <a href={`#${run.training_run_id}`}>{nameOf(run)}</a>,
            <RunState run={run} />,
            formatted(run.lorikeet.loss, figure),
            count(run.lorikeet.steps),
            count(run.lora_rank),
            run.base_model,
            activityOf(run),
          ])}
        />
      </div>
      <p class="help" id="runs-help" role="status">
        {store.runs.problem}
      </p>
      <MoreButton
        id="more-runs"
        hasMore={list.training_runs.length < list.cursor.total_count}
        more={store.moreRuns}
      />
    </Panel>
  );
}
