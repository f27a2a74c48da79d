// The fine-tuning page. The fragment of the address selects a view: the form and the list, one job, or a comparison.
import { errorText, poll, requestJson } from './api.js';
import { byId, showLoaded, showProblemIn } from './dom.js';
import { compareJobs } from './job-comparison.js';
import { JobList } from './job-list.js';
import { watchJob } from './job-view.js';
import { NewJobForm } from './new-job.js';

const POLL_MS = 5_000;
const JOB = /^#(ftjob-\w+)$/;
const REPEATED = /^#repeat-(ftjob-\w+)(?:&(.*))?$/;
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
  const [, compared = ''] = COMPARED.exec(location.hash) ?? [];
  const [, repeated = '', changes = ''] = REPEATED.exec(location.hash) ?? [];
  const view = id !== '' ? 'job' : compared !== '' ? 'comparison' : 'overview';
  for (const name of ['job', 'comparison', 'overview']) byId(name).hidden = name !== view;
  document.title = `${id === '' ? 'Fine-tuning' : id} · lorikeet`;
  if (view === 'job') stop = watchJob(id);
  else if (view === 'comparison') stop = compareJobs(compared.split(','));
  else stop = poll(POLL_MS, () => list.refresh().finally(() => showLoaded('jobs-section')));
  if (view !== 'overview') showLoaded('jobs-section');
  if (repeated !== '') void repeat(repeated, Object.fromEntries(new URLSearchParams(changes)));
  if (!isMoved) return;
  byId({ job: 'job-name', comparison: 'comparison-title', overview: 'main' }[view]).focus();
  scrollTo(0, 0);
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
