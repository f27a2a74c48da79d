// The list of fine-tuning jobs: refreshed, searched, loaded page by page, with checkboxes to compare jobs.
import { ApiError, errorText, requestJson } from './api.js';
import { byId, el, setText, showMoreButton } from './dom.js';
import { dateAndTime, duration, figure, percent } from './format.js';
import {
  accuracyOf,
  evaluationOf,
  formatted,
  jobName,
  learnsRewards,
  progressText,
  rewardOf,
  runSeconds,
  statusWord,
} from './job-facts.js';
import { PageList } from './page-list.js';
import { createTable, number } from './widgets.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */

const PAGE_SIZE = 20;
/** A search reads at most this many jobs. */
const MAX_SEARCHED = 1_000;
/** The charts have this many distinct colors. */
const MAX_COMPARED = 4;

/** The table of jobs with its search field and buttons. */
export class JobList {
  /** @type {PageList<Job>} */
  #jobs = new PageList((after = '') =>
    requestJson(`v1/fine_tuning/jobs?limit=${PAGE_SIZE}${after && `&after=${after}`}`),
  );
  /** Ids of the jobs to compare. @type {Set<string>} */
  #chosen = new Set();
  #search = byId('job-search', HTMLInputElement);
  #compare = byId('compare-button', HTMLButtonElement);
  #showRows = createTable(byId('jobs'), {
    caption: 'Your fine-tuning jobs',
    columns: [
      'Job',
      'Status',
      ...['Loss', 'Accuracy', 'Duration'].map(number),
      'Base model',
      'Created',
      'Compare',
    ],
  });

  /** @param {(ids: readonly string[]) => void} onCompare */
  constructor(onCompare) {
    this.#compare.addEventListener('click', () => onCompare([...this.#chosen]));
    this.#search.addEventListener('input', () => void this.#searchJobs());
    byId('more-jobs').addEventListener(
      'click',
      () => void this.#jobs.readMore().then(() => this.#show(), showListError),
    );
  }

  /** Reads the newest page again. Returns `done` if the server does not train. @returns {Promise<'done' | number | void>} */
  async refresh() {
    try {
      await this.#jobs.refresh();
      this.#show();
    } catch (error) {
      const isMissing = error instanceof ApiError && error.status === 404;
      if (this.#jobs.items.length === 0) byId('jobs').hidden = true;
      const text = isMissing ? 'Fine-tuning is not available on this server.' : errorText(error);
      setText(byId('jobs-help'), text);
      if (isMissing) return 'done';
      return error instanceof ApiError ? error.retryAfterS * 1000 : undefined;
    }
  }

  /** Reads older jobs until one matches, because the API cannot search. Each keystroke starts a search. */
  async #searchJobs() {
    this.#show();
    try {
      const jobs = this.#jobs;
      while (jobs.hasMore && this.#matches().length === 0 && jobs.items.length < MAX_SEARCHED) {
        await jobs.readMore();
      }
      this.#show();
    } catch (error) {
      showListError(error);
    }
  }

  #matches() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return this.#jobs.items.filter((job) => {
      const text = [jobName(job), job.id, job.model, job.fine_tuned_model, statusWord(job)]
        .join(' ')
        .toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  #show() {
    const matches = this.#matches();
    byId('jobs').hidden = matches.length === 0;
    showMoreButton('more-jobs', this.#jobs.hasMore);
    const none = this.#jobs.items.length === 0 ? 'No jobs yet.' : 'No matching jobs.';
    setText(byId('jobs-help'), matches.length === 0 ? none : '');
    this.#showRows(matches.map((job) => this.#row(job)));
    this.#allowCompare();
  }

  #allowCompare() {
    const { size } = this.#chosen;
    this.#compare.disabled = size < 2 || size > MAX_COMPARED;
    setText(this.#compare, size < 2 ? 'Compare' : `Compare ${size}`);
    this.#compare.title = size < 2 ? `Select 2 to ${MAX_COMPARED} jobs` : '';
  }

  /** @param {Job} job */
  #row(job) {
    const nowS = Date.now() / 1000;
    const card = evaluationOf(job);
    const { valid_loss: validLoss, train_loss: trainLoss } = job.lorikeet;
    return [
      el('a', { href: `#${job.id}` }, jobName(job)),
      statusCell(job),
      learnsRewards(job)
        ? formatted(rewardOf(job), (reward) => `reward ${figure(reward)}`)
        : formatted(card['validation_loss'] ?? validLoss ?? trainLoss, figure),
      formatted(accuracyOf(card).adapter, percent),
      formatted(runSeconds(job, nowS), duration),
      job.model,
      dateAndTime(job.created_at),
      el('input', {
        type: 'checkbox',
        id: `compare-${job.id}`,
        checked: this.#chosen.has(job.id),
        'aria-label': `Compare ${jobName(job)}`,
        onchange: (/** @type {Event} */ event) => {
          const { checked } = /** @type {HTMLInputElement} */ (event.target);
          if (checked) this.#chosen.add(job.id);
          else this.#chosen.delete(job.id);
          this.#allowCompare();
        },
      }),
    ];
  }
}

/** @param {unknown} error */
function showListError(error) {
  setText(byId('jobs-help'), errorText(error));
}

/** Shows a job's status, and how far it is. @param {Job} job */
function statusCell(job) {
  const progress = progressText(job, Date.now() / 1000);
  return el(
    'span',
    el('span', { className: `pill ${job.status}` }, statusWord(job)),
    progress !== '' && el('small.help', ` ${progress}`),
  );
}
