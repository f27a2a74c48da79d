// Compares jobs: results and settings in a table, loss curves in shared charts.
import { errorText, poll, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, el, fill, problemText, setText, showLoaded } from './dom.js';
import { duration, figure, percent } from './format.js';
import { EventLog, overlayCurves } from './job-events.js';
import {
  accuracyOf,
  evaluationOf,
  formatted,
  jobName,
  learnsRewards,
  rewardOf,
  runSeconds,
  SETTINGS,
  statusWord,
} from './job-facts.js';
import { createTable } from './widgets.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */

const POLL_MS = 5_000;
const COLORS = ['--accent', '--second', '--third', '--ink'];
/** The loss; the reward if all jobs learn from rewards. */
const CHARTS = [
  { id: 'compared-training', loss: 'train_loss', reward: 'train_mean_reward', name: 'Training' },
  {
    id: 'compared-validation',
    loss: 'full_valid_loss',
    reward: 'full_valid_mean_reward',
    name: 'Validation',
  },
];
/** The rows of the table. @type {readonly (readonly [name: string, read: (job: Job) => string])[]} */
const ROWS = [
  ['Status', statusWord],
  ['Validation accuracy', (job) => formatted(accuracyOf(evaluationOf(job)).adapter, percent)],
  ['Validation reward', (job) => (learnsRewards(job) ? formatted(rewardOf(job), figure) : '–')],
  [
    'Validation loss',
    (job) =>
      learnsRewards(job)
        ? '–'
        : formatted(evaluationOf(job)['validation_loss'] ?? job.lorikeet['valid_loss'], figure),
  ],
  ['Training loss', (job) => formatted(job.lorikeet['train_loss'], figure)],
  ['Duration', (job) => formatted(runSeconds(job, Date.now() / 1000), duration)],
  ...SETTINGS.map(
    ([name, read]) =>
      /** @type {const} */ ([name, (/** @type {Job} */ job) => String(read(job) ?? '–')]),
  ),
];

/** Shows the jobs and follows them. Returns a function that stops it. @param {readonly string[]} ids */
export function compareJobs(ids) {
  const logs = ids.map(() => new EventLog());
  /** @type {Chart[] | undefined} */
  let charts;
  fill(byId('compared-problem'));
  const stop = poll(POLL_MS, async () => {
    try {
      /** @type {Job[]} */
      const jobs = await Promise.all(ids.map((id) => requestJson(`v1/fine_tuning/jobs/${id}`)));
      await Promise.all(ids.map((id, i) => logs[i]?.update(id)));
      charts ??= drawCharts(jobs);
      showTable(jobs);
      for (const [i, chart] of CHARTS.entries()) {
        charts[i]?.show(overlayCurves(logs, chart[measureOf(jobs)]), `${jobs.length} jobs`);
      }
      fill(byId('compared-problem'));
      return jobs.every(({ finished_at: finishedS }) => finishedS !== null) ? 'done' : undefined;
    } catch (error) {
      fill(byId('compared-problem'), problemText(errorText(error)));
      return undefined;
    } finally {
      showLoaded('comparison');
    }
  });
  return () => {
    stop();
    for (const chart of charts ?? []) chart.remove();
  };
}

/** A job's name, followed by the end of its id if another job has the same name. @param {Job} job @param {readonly Job[]} jobs */
function labelOf(job, jobs) {
  const name = jobName(job);
  const isUnique = jobs.filter((other) => jobName(other) === name).length === 1;
  return isUnique ? name : `${name} …${job.id.slice(-4)}`;
}

/** @param {readonly Job[]} jobs @returns {'loss' | 'reward'} */
function measureOf(jobs) {
  return jobs.every(learnsRewards) ? 'reward' : 'loss';
}

/** @param {readonly Job[]} jobs */
function drawCharts(jobs) {
  return CHARTS.map((chart, i) => {
    const name = `${chart.name} ${measureOf(jobs)}`;
    setText(byId(`${chart.id}-title`), name);
    const lines = jobs.map((job, j) => ({
      label: labelOf(job, jobs),
      color: COLORS[j] ?? '--muted',
      isSparse: i === 1,
    }));
    return new Chart(byId(chart.id), { name: `${name} by step`, lines });
  });
}

/** @param {readonly Job[]} jobs */
function showTable(jobs) {
  const columns = jobs.map((job, i) =>
    el(
      'a',
      { href: `#${job.id}` },
      el('i', { className: `swatch swatch-${i}`, 'aria-hidden': 'true' }),
      labelOf(job, jobs),
    ),
  );
  createTable(byId('compared'), {
    caption: 'Jobs compared',
    columns: ['', ...columns],
  })(ROWS.map(([name, read]) => [name, ...jobs.map(read)]));
}
