// The fine-tuning page. The fragment of the address selects a view: the form and the lists, one job, a comparison, or the run of
// a training loop.
import { errorText, poll, requestJson } from './api.js';
import { byId, showLoaded, showProblemIn } from './dom.js';
import { compareJobs } from './job-comparison.js';
import { JobList } from './job-list.js';
import { watchJob } from './job-view.js';
import { NewJobForm } from './new-job.js';
import { refreshRuns, watchRun } from './training-runs.js';

const POLL_MS = 5_000;
const JOB = /^#(ftjob-\w+)$/;
const REPEATED = /^#repeat-(ftjob-\w+)(?:&(.*))?$/;
const RUN = /^#(tinker-[0-9a-f]+:train:\d+)$/;
const COMPARED = /^#compare=(ftjob-\w+(?:,ftjob-\w+)+)$/;

/** Stops following what the page shows. */
let stop = () => {};

const newJob = new NewJobForm((id) => {
  location.hash = id;
});
const list = new JobList((ids) => {
  location.hash = `compare=${ids.join()}`;
});
addEventListener('hashchange', () => showView(true));
showView(false);
showLoaded();

/** @param {boolean} isMoved whether the user came from another view; then the focus also moves */
function showView(isMoved) {
  stop();
  const [, id = ''] = JOB.exec(location.hash) ?? [];
  const [, run = ''] = RUN.exec(location.hash) ?? [];
  const [, compared = ''] = COMPARED.exec(location.hash) ?? [];
  const [, repeated = '', changes = ''] = REPEATED.exec(location.hash) ?? [];
  const view = id ? 'job' : run ? 'run' : compared ? 'comparison' : 'overview';
  for (const name of ['job', 'run', 'comparison', 'overview']) byId(name).hidden = name !== view;
  document.title = `${id || 'Fine-tuning'} · lorikeet`;
  if (view === 'job') stop = watchJob(id);
  else if (view === 'run') stop = watchRun(run);
  else if (view === 'comparison') stop = compareJobs(compared.split(','));
  else stop = poll(POLL_MS, refreshLists);
  if (view !== 'overview') showLoaded('jobs-section');
  if (repeated !== '') void repeat(repeated, Object.fromEntries(new URLSearchParams(changes)));
  if (!isMoved) return;
  byId(
    { job: 'job-name', run: 'run-name', comparison: 'comparison-title', overview: 'main' }[view],
  ).focus();
  scrollTo(0, 0);
}

/** Both lists appear together, so that nothing moves. */
async function refreshLists() {
  const [outcome] = await Promise.all([list.refresh(), refreshRuns()]);
  showLoaded('jobs-section');
  return outcome;
}

/** Fills the form with another job's files and settings, some of them changed. @param {string} id @param {Readonly<Record<string, string>>} changes by field */
async function repeat(id, changes) {
  try {
    await newJob.repeat(await requestJson(`v1/fine_tuning/jobs/${id}`), changes);
    history.replaceState(null, '', '#all'); // a reload keeps the user's changes
  } catch (error) {
    showProblemIn(byId('start-problem'), errorText(error));
  }
}
