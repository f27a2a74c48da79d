// The fine-tuning page: a new job and the list of all, or the one job that the address names behind its `#`.
import { ApiError, errorText, requestJson } from './api.js';
import { byId, el, say } from './dom.js';
import { dateAndTime } from './format.js';
import { jobName, progressText, statusWord } from './job-facts.js';
import { watchJob } from './job-view.js';
import { createNewJob } from './new-job.js';
import { poll } from './poll.js';
import { createTable } from './table.js';

const EVERY_MS = 5_000;
const SHOWN = 50;

/** Ends what the page follows. */
let stop = () => {};

const showJobs = createTable(byId('jobs'), {
  caption: 'Your fine-tuning jobs',
  columns: [
    { name: 'Job' },
    { name: 'Status' },
    { name: 'Progress' },
    { name: 'Starts from' },
    { name: 'Created' },
  ],
});

createNewJob((id) => {
  location.hash = id;
});
addEventListener('hashchange', () => follow(true));
follow(false);

/** @param {boolean} isMoved whether the reader came from the other view: the focus follows */
function follow(isMoved) {
  stop();
  const [, id = ''] = /^#(ftjob-\w+)$/.exec(location.hash) ?? [];
  byId('overview').hidden = id !== '';
  byId('job').hidden = id === '';
  document.title = `${id === '' ? 'Fine-tuning' : id} · lorikeet`;
  stop = id === '' ? poll(EVERY_MS, refreshJobs) : watchJob(id);
  if (!isMoved) return;
  byId(id === '' ? 'main' : 'job-name').focus();
  scrollTo(0, 0);
}

/** @returns {Promise<'done' | number | void>} */
async function refreshJobs() {
  try {
    /** @type {{ data: import('../openai.ts').FineTuningJob[] }} */
    const { data } = await requestJson(`v1/fine_tuning/jobs?limit=${SHOWN}`);
    byId('jobs').hidden = data.length === 0;
    say(byId('jobs-help'), data.length === 0 ? 'There are none yet.' : '');
    showJobs(
      data.map((job) => [
        el('a', { href: `#${job.id}` }, jobName(job)),
        el('span', { className: `pill ${job.status}` }, statusWord(job)),
        progressText(job, Date.now() / 1000),
        job.model,
        dateAndTime(job.created_at),
      ]),
    );
  } catch (error) {
    byId('jobs').hidden = true;
    const isMissing = error instanceof ApiError && error.status === 404;
    say(byId('jobs-help'), isMissing ? 'This server does not train.' : errorText(error));
    if (isMissing) return 'done';
    return error instanceof ApiError ? error.retryAfterS * 1000 : undefined;
  }
}
