// The fine-tuning page: a new job and the list of all, one job, or several jobs compared, as the address says behind its
// `#`.
import { errorText, requestJson } from './api.js';
import { byId, say } from './dom.js';
import { compareJobs } from './job-comparison.js';
import { JobList } from './job-list.js';
import { watchJob } from './job-view.js';
import { createNewJob } from './new-job.js';
import { poll } from './poll.js';

const EVERY_MS = 5_000;
const JOB = /^#(ftjob-\w+)$/;
const REPEATED = /^#repeat-(ftjob-\w+)$/;
const COMPARED = /^#compare=(ftjob-\w+(?:,ftjob-\w+)+)$/;

/** Ends what the page follows. */
let stop = () => {};

const newJob = createNewJob((id) => {
  location.hash = id;
});
const list = new JobList((ids) => {
  location.hash = `compare=${ids.join()}`;
});
addEventListener('hashchange', () => follow(true));
follow(false);

/** @param {boolean} isMoved whether the reader came from another view: the focus follows */
function follow(isMoved) {
  stop();
  const [, id = ''] = JOB.exec(location.hash) ?? [];
  const [, compared = ''] = COMPARED.exec(location.hash) ?? [];
  const [, repeated = ''] = REPEATED.exec(location.hash) ?? [];
  const view = id !== '' ? 'job' : compared !== '' ? 'comparison' : 'overview';
  for (const name of ['job', 'comparison', 'overview']) byId(name).hidden = name !== view;
  document.title = `${id === '' ? 'Fine-tuning' : id} · lorikeet`;
  if (view === 'job') stop = watchJob(id);
  else if (view === 'comparison') stop = compareJobs(compared.split(','));
  else stop = poll(EVERY_MS, () => list.refresh());
  if (repeated !== '') void repeat(repeated);
  if (!isMoved) return;
  byId({ job: 'job-name', comparison: 'comparison-title', overview: 'main' }[view]).focus();
  scrollTo(0, 0);
}

/** Fills the form with another job's files and settings. @param {string} id */
async function repeat(id) {
  try {
    await newJob.repeat(await requestJson(`v1/fine_tuning/jobs/${id}`));
  } catch (error) {
    say(byId('start-problem'), errorText(error));
    byId('start-problem').hidden = false;
  }
}
