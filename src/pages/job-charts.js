// The curves of a job's page: which ones a job has, by its method, and the metrics in them.
import { Chart } from './chart.js';
import { byId, el, fill, setText } from './dom.js';
import { figure, percent } from './format.js';
import { formatted, learnsPairs, learnsRewards } from './job-facts.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */

/**
 * @typedef {object} Curves
 * @property {string} id
 * @property {(job: Job | undefined) => string} title empty: the job has no such curves
 * @property {readonly string[]} keys the metric of each line
 * @property {string} summary names the first metric for screen readers
 * @property {readonly import('./chart.js').Line[]} [lines] default: training and validation
 * @property {(value: number) => string} [format]
 */

/** @type {readonly import('./chart.js').Line[]} */
const TRAINED_AND_VALIDATED = [
  { label: 'Training', color: '--accent' },
  { label: 'Validation', color: '--second', isDashed: true, isSparse: true },
];

/** Until the job is known, a page shows the curves of most jobs. @param {Job | undefined} job */
const isRewarded = (job) => job !== undefined && learnsRewards(job);
/** @param {Job | undefined} job */
const isPaired = (job) => job !== undefined && learnsPairs(job);

/** @type {readonly Curves[]} */
const CURVES = [
  {
    id: 'loss',
    title: (job) => (isRewarded(job) ? '' : 'Loss'),
    keys: ['train_loss', 'full_valid_loss'],
    summary: 'training loss',
  },
  {
    id: 'accuracy',
    title: (job) => (isRewarded(job) ? '' : isPaired(job) ? 'Pair accuracy' : 'Token accuracy'),
    keys: ['train_mean_token_accuracy', 'full_valid_mean_token_accuracy'],
    summary: 'accuracy',
    format: percent,
  },
  {
    id: 'rewards',
    title: (job) => (isPaired(job) ? 'Rewards' : ''),
    keys: ['rewards/margins', 'rewards/chosen', 'rewards/rejected'],
    summary: 'margin',
    lines: [
      { label: 'Margin', color: '--ink', isDashed: true },
      { label: 'Preferred', color: '--accent' },
      { label: 'Non-preferred', color: '--second' },
    ],
  },
  {
    id: 'reward',
    title: (job) => (isRewarded(job) ? 'Mean reward' : ''),
    keys: ['train_mean_reward', 'full_valid_mean_reward'],
    summary: 'mean reward',
  },
  {
    id: 'length',
    title: (job) => (isRewarded(job) ? 'Length of completions' : ''),
    keys: ['completion_tokens_mean'],
    summary: 'mean number of tokens',
    lines: [{ label: 'Mean tokens', color: '--accent' }],
  },
];

/** The charts, created once. */
export class JobCharts {
  /** @type {readonly { curves: Curves, section: HTMLElement, title: HTMLElement, chart: Chart }[]} */
  #parts;

  constructor() {
    this.#parts = CURVES.map((curves) => {
      const { id, lines = TRAINED_AND_VALIDATED, format } = curves;
      const title = el('h2', { id: `${id}-title` });
      const area = el('div', { id: `${id}-chart` });
      const section = el('section.panel', { 'aria-labelledby': title.id }, title, area);
      const name = `${curves.title(undefined) || curves.summary} by step`;
      return { curves, section, title, area, options: { name, lines, ...(format && { format }) } };
    }).map(({ area, options, ...part }) => ({ ...part, chart: new Chart(area, options) }));
    fill(byId('curves'), ...this.#parts.map(({ section }) => section));
  }

  /** Shows the curves of a job; undefined: it is not known yet. @param {Job | undefined} job @param {import('./job-events.js').EventLog} log */
  show(job, log) {
    const last = log.last();
    for (const { curves, section, title, chart } of this.#parts) {
      const { keys, summary, format = figure } = curves;
      setText(title, curves.title(job));
      section.hidden = title.textContent === '';
      const value = last && `${summary} ${formatted(last[keys[0] ?? ''], format)}`;
      chart.show(log.points(keys), last ? `step ${last['step']}, ${value}` : 'no step yet');
    }
  }
}
