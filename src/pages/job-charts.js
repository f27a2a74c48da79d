// The curves of a job's page: which ones a job has, by its method, and the metrics in them.
import { Chart } from './chart.js';
import { byId, el, fill, setText } from './dom.js';
import {
  accuracyName,
  formatOf,
  formattedMetric,
  learnsPairs,
  learnsRewards,
} from './job-facts.js';
import { METRICS } from './tables.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */
/** @typedef {import('../contracts/metrics.ts').PageMetric} Metric */

/**
 * @typedef {object} Curves
 * @property {Metric['curve']} id
 * @property {(job: Job | undefined) => string} title empty: the job has no such curves
 * @property {string} summary names the main metric for screen readers
 * @property {number} [main] its index; default: 0
 * @property {readonly Partial<import('./chart.js').Line>[]} [lines] default: training and validation
 */

/** @type {readonly Partial<import('./chart.js').Line>[]} */
const TRAINED_AND_VALIDATED = [
  { label: 'Training' },
  { label: 'Validation', color: '--second', isDashed: true, isSparse: true },
];

/** Until the job is known, a page shows the curves of most jobs. @param {Job | undefined} job */
const isRewarded = (job) => job !== undefined && learnsRewards(job);
/** @param {Job | undefined} job */
const isPaired = (job) => job !== undefined && learnsPairs(job);

/** @type {readonly Curves[]} */
const CURVES = [
  { id: 'loss', title: (job) => (isRewarded(job) ? '' : 'Loss'), summary: 'training loss' },
  {
    id: 'accuracy',
    title: (job) => (isRewarded(job) ? '' : accuracyName(job)),
    summary: 'accuracy',
  },
  {
    id: 'rewards',
    title: (job) => (isPaired(job) ? 'Rewards' : ''),
    summary: 'margin',
    lines: [{}, { color: '--second' }, { color: '--ink', isDashed: true }],
    main: 2,
  },
  { id: 'reward', title: (job) => (isRewarded(job) ? 'Mean reward' : ''), summary: 'mean reward' },
  {
    id: 'length',
    title: (job) => (isRewarded(job) ? 'Length of completions' : ''),
    summary: 'mean number of tokens',
    lines: [],
  },
];

/** The charts, created once. */
export class JobCharts {
  #parts = CURVES.map((curves) => {
    const { id, lines = TRAINED_AND_VALIDATED } = curves;
    const metrics = METRICS.filter(({ curve }) => curve === id);
    const title = el('h2', { id: `${id}-title` });
    const area = el('div', { id: `${id}-chart` });
    const section = el('section.panel', { 'aria-labelledby': title.id }, title, area);
    const chart = new Chart(area, {
      name: `${curves.title(undefined) || curves.summary} by step`,
      lines: metrics.map(({ label }, i) => ({ label, color: '--accent', ...lines[i] })),
      isShare: metrics[0]?.unit === 'share',
      format: formatOf(metrics[0]),
    });
    return { curves, metrics, section, title, chart };
  });

  constructor() {
    fill(byId('curves'), ...this.#parts.map(({ section }) => section));
  }

  /** Shows the curves of a job; undefined: it is not known yet. @param {Job | undefined} job @param {import('./job-events.js').EventLog} log */
  show(job, log) {
    const last = log.last();
    for (const { curves, metrics, section, title, chart } of this.#parts) {
      setText(title, curves.title(job));
      section.hidden = title.textContent === '';
      const main = metrics[curves.main ?? 0];
      const value = last && main && formattedMetric(last, main);
      const points = log.points(metrics.map(({ name }) => name));
      chart.show(points, last ? `step ${last.step}, ${curves.summary} ${value}` : 'no step yet');
    }
  }
}
