// The fine-tuning page. The fragment of the address selects a view: the lists, the form of a new job, one job, a comparison, or
// the run of a training loop.
import { signal, useSignal } from '@preact/signals';
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { errorText, requestJson } from '../api.ts';
import { byId, showLoaded } from '../browser.ts';
import { Problem } from '../components/problem.tsx';
import './fine-tuning.css';
import { Title } from '../components/title.tsx';
import { Comparison } from './comparison.tsx';
import { JobPage } from './job-page.tsx';
import { createListStore } from './list-store.ts';
import { Lists } from './lists.tsx';
import { NewJob, type Repeated } from './new-job/new-job.tsx';
import { type Route, toRoute } from './route.ts';
import { RunPage } from './run-page.tsx';

const route = signal(toRoute(location.hash));
addEventListener('hashchange', () => {
  route.value = toRoute(location.hash);
});
const lists = createListStore();

function Page() {
  useEffect(() => showLoaded(), []);
  if (route.value.view === 'overview') return <Overview />;
  return (
    <>
      <p class="back">
        <a href="#all">All jobs</a>
      </p>
      <View route={route.value} />
    </>
  );
}

function View({ route }: { readonly route: Exclude<Route, { view: 'overview' }> }) {
  switch (route.view) {
    case 'job':
      return <JobPage key={route.id} id={route.id} />;
    case 'run':
      return <RunPage key={route.id} id={route.id} />;
    case 'comparison':
      return <Comparison key={route.ids.join()} ids={route.ids} />;
    case 'new':
      return <NewJobView route={route} />;
  }
}

function Overview() {
  return (
    <>
      <div class="head">
        <Title id="overview-title" name="Fine-tuning" />
        <a class="button primary" href="#new">
          New job
        </a>
      </div>
      <Lists store={lists} />
    </>
  );
}

/** The form, filled with another job's files and settings if the route names one. */
function NewJobView({ route: { repeated: id, changes } }: { route: Route & { view: 'new' } }) {
  const repeated = useSignal<Repeated>();
  const problem = useSignal('');
  useEffect(() => {
    if (id === undefined) return;
    const leaving = new AbortController();
    const { signal } = leaving;
    requestJson<FineTuningJob>(`v1/fine_tuning/jobs/${id}`, { signal }).then(
      (job) => {
        repeated.value = { job, changes };
        history.replaceState(null, '', '#new'); // a reload keeps the user's changes
      },
      (error: unknown) => {
        if (!signal.aborted) problem.value = errorText(error);
      },
    );
    return () => leaving.abort();
  }, [id]);
  return (
    <>
      <div class="head">
        <Title id="form-title" name="New job" />
      </div>
      <Problem text={problem.value} />
      <NewJob onCreated={showJob} repeated={repeated.value} />
    </>
  );
}

function showJob(id: string): void {
  location.hash = id;
}

render(<Page />, byId('main'));
