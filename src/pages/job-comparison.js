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
import { METRICS } from './tables.js';
import { createTable } from './widgets.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */

const POLL_MS = 5_000;
const COLORS = ['--accent', '--second', '--third', '--ink'];
const CHARTS = ['compared-training', 'compared-validation'];
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
        : formatted(evaluationOf(job)['validation_loss'] ?? job.lorikeet.valid_loss, figure),
  ],
  ['Training loss', (job) => formatted(job.lorikeet.train_loss, figure)],
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
      for (const [i, { name }] of metricsOf(jobs).entries()) {
        charts[i]?.show(overlayCurves(logs, name), `${jobs.length} jobs`);
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

/** The losses; the rewards if all jobs learn from rewards. @param {readonly Job[]} jobs */
function metricsOf(jobs) {
  const shown = jobs.every(learnsRewards) ? 'reward' : 'loss';
  return METRICS.filter(({ curve }) => curve === shown);
}

/** @param {readonly Job[]} jobs */
function drawCharts(jobs) {
  return metricsOf(jobs).map(({ label }, i) => {
    const id = CHARTS[i] ?? '';
    setText(byId(`${id}-title`), label);
    const lines = jobs.map((job, j) => ({
      label: labelOf(job, jobs),
      color: COLORS[j] ?? '--muted',
      isSparse: i === 1,
    }));
    return new Chart(byId(id), { name: `${label} by step`, lines });
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
