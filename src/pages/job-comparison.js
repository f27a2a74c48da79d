// Jobs beside each other: their numbers in a table, their losses as curves over each other.
import { errorText, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, el, fill } from './dom.js';
import { duration, figure, percent } from './format.js';
import { overlay, Told } from './job-curves.js';
import { readEvents } from './job-events.js';
import { jobName, runSeconds, statusWord } from './job-facts.js';
import { evaluationOf, shown } from './job-outcome.js';
import { poll } from './poll.js';
import { createTable } from './table.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */

const EVERY_MS = 5_000;
const COLORS = ['--accent', '--second', '--third', '--ink'];
const CHARTS = [
  { id: 'compared-training', key: 'train_loss', name: 'Training loss' },
  { id: 'compared-validation', key: 'full_valid_loss', name: 'Validation loss' },
];
/** Rows of the table: what is compared. @type {readonly (readonly [name: string, of: (job: Job) => string])[]} */
const ROWS = [
  ['Status', statusWord],
  ['Validation accuracy', (job) => shown(evaluationOf(job)['validation_token_accuracy'], percent)],
  [
    'Validation loss',
    (job) => shown(evaluationOf(job)['validation_loss'] ?? job.lorikeet['valid_loss'], figure),
  ],
  ['Training loss', (job) => shown(job.lorikeet['train_loss'], figure)],
  ['Duration', (job) => shown(runSeconds(job, Date.now() / 1000), duration)],
  ['Base model', (job) => job.model],
  ['Epochs', (job) => String(job.hyperparameters.n_epochs)],
  ['Batch size', (job) => String(job.hyperparameters.batch_size)],
  ['Learning rate multiplier', (job) => String(job.hyperparameters.learning_rate_multiplier)],
  ['LoRA rank', (job) => String(job.lorikeet['rank'] ?? 'default')],
  ['Seed', (job) => String(job.seed)],
];

/** Shows the jobs until the function that it returns is called. @param {readonly string[]} ids */
export function compareJobs(ids) {
  const told = ids.map(() => new Told());
  /** @type {Chart[] | undefined} */
  let charts;
  fill(byId('compared-problem'));
  const end = poll(EVERY_MS, async () => {
    try {
      /** @type {Job[]} */
      const jobs = await Promise.all(ids.map((id) => requestJson(`v1/fine_tuning/jobs/${id}`)));
      await Promise.all(ids.map((id, i) => readEvents(id, /** @type {Told} */ (told[i]))));
      charts ??= drawCharts(jobs);
      showTable(jobs);
      for (const [i, { key }] of CHARTS.entries()) {
        charts[i]?.show(overlay(told, key), `${jobs.length} jobs`);
      }
      fill(byId('compared-problem'));
      return jobs.every(({ finished_at: finishedS }) => finishedS !== null) ? 'done' : undefined;
    } catch (error) {
      fill(
        byId('compared-problem'),
        el('p', { className: 'problem', role: 'alert' }, errorText(error)),
      );
      return undefined;
    }
  });
  return () => {
    end();
    for (const chart of charts ?? []) chart.remove();
  };
}

/** Its name, with the end of its id if another one has the same name. @param {Job} job @param {readonly Job[]} jobs */
function labelOf(job, jobs) {
  const name = jobName(job);
  const isUnique = jobs.filter((other) => jobName(other) === name).length === 1;
  return isUnique ? name : `${name} …${job.id.slice(-4)}`;
}

/** @param {readonly Job[]} jobs */
function drawCharts(jobs) {
  return CHARTS.map(({ id, name }, i) => {
    const lines = jobs.map((job, j) => ({
      label: labelOf(job, jobs),
      color: COLORS[j] ?? '--muted',
      isSparse: i === 1,
    }));
    return new Chart(byId(id), { name: `${name} by step`, lines });
  });
}

/** @param {readonly Job[]} jobs */
function showTable(jobs) {
  const columns = jobs.map((job, i) => ({
    name: el(
      'a',
      { href: `#${job.id}` },
      el('i', { className: `swatch swatch-${i}`, 'aria-hidden': 'true' }),
      labelOf(job, jobs),
    ),
  }));
  createTable(byId('compared'), {
    caption: 'Jobs compared',
    columns: [{ name: '' }, ...columns],
  })(ROWS.map(([name, of]) => [name, ...jobs.map(of)]));
}
