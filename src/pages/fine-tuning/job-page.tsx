// A job's page: state, advice, result, checkpoints, curves, samples, events, gates and settings, read again while the job runs.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { useFocusFallback } from '../components/focus.ts';
import { Pairs } from '../components/pairs.tsx';
import { Panel } from '../components/parts.tsx';
import { Problem } from '../components/problem.tsx';
import { Title } from '../components/title.tsx';
import { count, counted, dateAndTime, timeOfDay } from '../format.ts';
import { adviceFor, inWords } from './advice.ts';
import { Checkpoints } from './checkpoints.tsx';
import { warningsOf } from './events.ts';
import { isFinished, jobName, progressOf, progressText, statusWord } from './facts.ts';
import { JobCharts } from './job-charts.tsx';
import { Gates, JobResult } from './job-result.tsx';
import { JobSamples } from './job-samples.tsx';
import { createJobStore, type JobStore } from './job-store.ts';
import { Outcome } from './proof.tsx';
import { settingsOf } from './settings.ts';

/** The most events shown. Older ones are only in the API. */
const MAX_EVENTS = 300;

/** The page of a job. */
export function JobPage({ id }: { readonly id: string }) {
  const [store] = useState(() => createJobStore(id));
  useEffect(store.follow, []);
  const { parts, problem, refusal, samples } = store;
  const { job, checkpoints = [] } = parts.value ?? {};
  const steps = store.steps.value;
  const problems = [problem.value, refusal.value].filter(Boolean);
  return (
    <div id="job" class={job || problems.length > 0 ? '' : 'loading'}>
      <Head store={store} />
      {job && <Progress job={job} />}
      <div class="stack" id="job-problems">
        {problems.map((text) => (
          <Problem key={text} text={text} />
        ))}
        {job && <Notes store={store} job={job} />}
      </div>
      {job && (
        <>
          <JobResult job={job} steps={steps} />
          {job.fine_tuned_model !== null && <Outcome job={job} />}
          <Checkpoints job={job} steps={steps} checkpoints={checkpoints} />
          <div class="job-parts">
            <div>
              <JobCharts job={job} steps={steps} />
              <JobSamples store={samples} />
              <EventList store={store} />
            </div>
            <div>
              <Gates job={job} />
              <Settings store={store} job={job} />
            </div>
          </div>
        </>
      )}
    </div>
  );
}

interface PartProps {
  readonly store: JobStore;
}
interface JobPartProps extends PartProps {
  readonly job: FineTuningJob;
}

/** Name, state, and what the user can do now. */
function Head({ store }: PartProps) {
  const { job } = store.parts.value ?? {};
  const heading = useRef<HTMLHeadingElement>(null);
  const actions = useRef<HTMLDivElement>(null);
  useFocusFallback(actions, heading);
  const name = job ? jobName(job) : store.id;
  const next = job && NEXT_ACTIONS[job.status];
  return (
    <div class="head">
      <Title id="job-name" name={name} heading={heading}>
        {name} {job && <span class={`pill ${job.status}`}>{statusWord(job)}</span>}
      </Title>
      <div class="row" id="job-actions" ref={actions}>
        {next && (
          <button type="button" key="next" onClick={() => store.act(next)}>
            {next === 'pause' ? 'Pause' : 'Resume'}
          </button>
        )}
        {job && !isFinished(job) && (
          <button type="button" key="cancel" class="danger" onClick={() => store.act('cancel')}>
            Cancel
          </button>
        )}
        {job && (
          <a class="button" href={`#repeat-${store.id}`}>
            Repeat with changes
          </a>
        )}
      </div>
    </div>
  );
}

const NEXT_ACTIONS: Partial<Record<FineTuningJob['status'], 'pause' | 'resume'>> = {
  queued: 'pause',
  running: 'pause',
  paused: 'resume',
};

function Progress({ job }: { readonly job: FineTuningJob }) {
  const progress = progressOf(job);
  if (!progress || isFinished(job)) return null;
  const { step, totalSteps } = progress;
  return (
    <div id="job-progress">
      <progress max={totalSteps} value={step} aria-label="Progress" />
      <p class="help">
        Step {count(step)} of {count(totalSteps)} · {progressText(job, Date.now() / 1000)}
      </p>
    </div>
  );
}

/** Why the job failed, what to try next, and the warnings. */
function Notes({ store, job }: JobPartProps) {
  const advice = adviceFor(job);
  const changes = new URLSearchParams(advice?.changes).toString();
  return (
    <>
      {job.error && <p class="problem">{inWords(job.error.message)}</p>}
      {advice && (
        <p class="warning">
          {advice.text} <a href={`#repeat-${job.id}${changes && `&${changes}`}`}>Try this</a>
        </p>
      )}
      {warningsOf(store.parts.value!.events).map(({ id, message }) => (
        <p class="warning" key={id}>
          {inWords(message)}
        </p>
      ))}
    </>
  );
}

/** The events, newest first. */
function EventList({ store }: PartProps) {
  const { events } = store.parts.value!;
  const hidden = events.length - MAX_EVENTS;
  return (
    <Panel id="events-section" title="Events">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <ol class="events" id="events" aria-label="Events" tabIndex={0}>
        {events.slice(0, MAX_EVENTS).map(({ id, created_at: atS, level, message }) => (
          <li key={id} class={level}>
            <time>{timeOfDay(atS)}</time> {inWords(message)}
          </li>
        ))}
        {hidden > 0 && <li key="older">{count(hidden)} older events</li>}
      </ol>
    </Panel>
  );
}

function Settings({ store, job }: JobPartProps) {
  const { lorikeet, finished_at: finishedS, trained_tokens: tokens } = job;
  const nameOf = (file: string | null) => file && store.parts.value!.fileNames[file];
  return (
    <Panel id="facts" title="Settings">
      <Pairs
        id="job-facts"
        entries={[
          ['Job ID', job.id],
          ['Adapter', lorikeet.adapter],
          ['Training file', nameOf(job.training_file)],
          ['Validation file', nameOf(job.validation_file)],
          ...settingsOf(job),
          ['Created', dateAndTime(job.created_at)],
          ['Finished', finishedS && dateAndTime(finishedS)],
          ['Trained', tokens === null ? null : counted(tokens, 'token')],
        ]}
      />
    </Panel>
  );
}
