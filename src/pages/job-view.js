// One job, followed while it runs: state, curves, warnings, events, and its checkpoints to try.
import { ApiError, errorText, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, el, fill, say } from './dom.js';
import { count, figure, percent, timeOfDay } from './format.js';
import { Told } from './job-curves.js';
import { hasEnded, jobName, progressOf, progressText, statusWord } from './job-facts.js';
import { showFacts, showGates, showResults } from './job-results.js';
import { poll } from './poll.js';

/** @typedef {import('../openai.ts').FineTuningJob} Job */
/** @typedef {import('../openai.ts').FineTuningJobCheckpoint} Checkpoint */

const EVERY_MS = 1_500;
/** Of one list of the API. */
const PAGE = 100;
/** Older ones are in the API; nobody reads that far here. */
const MAX_EVENTS = 300;

const LOSSES = ['train_loss', 'full_valid_loss'];
const ACCURACIES = ['train_mean_token_accuracy', 'full_valid_mean_token_accuracy'];

/** @type {readonly import('./chart.js').Line[]} */
const LINES = [
  { label: 'Training', color: '--accent' },
  { label: 'Validation', color: '--second', isDashed: true, isSparse: true },
];

/** Those of the page. @type {{ loss: Chart, accuracy: Chart } | undefined} */
let drawn;

/** Shows the job until the function that it gives is called. @param {string} id */
export function watchJob(id) {
  drawn ??= {
    loss: new Chart(byId('loss-chart'), { name: 'Loss by step', lines: LINES }),
    accuracy: new Chart(byId('accuracy-chart'), {
      name: 'Share of tokens right by step',
      lines: LINES,
      format: percent,
    }),
  };
  const view = new JobView(id, drawn);
  return poll(EVERY_MS, () => view.refresh());
}

class JobView {
  #id;
  #charts;
  #told = new Told();
  /** @type {Checkpoint[]} */
  #checkpoints = [];
  /** How many events the checkpoints are as of. */
  #checkpointsAt = -1;
  /** @type {Job | undefined} */
  #job;
  /** What the reader's last wish came to, where it was refused. */
  #refusal = '';

  /** @param {string} id @param {{ loss: Chart, accuracy: Chart }} charts */
  constructor(id, charts) {
    this.#id = id;
    this.#charts = charts;
    say(byId('job-name'), id);
    for (const place of ['job-actions', 'job-progress', 'job-problems', 'events', 'results'])
      fill(byId(place));
    byId('events').tabIndex = 0; // it scrolls
    this.#showCurves();
  }

  /** @returns {Promise<'done' | number | void>} */
  async refresh() {
    try {
      /** @type {Job} */
      const job = await this.#get('');
      this.#job = job;
      await this.#readEvents();
      if (this.#checkpointsAt !== this.#told.count) {
        ({ data: this.#checkpoints } = await this.#get('/checkpoints?limit=10'));
        this.#checkpointsAt = this.#told.count;
      }
      this.#show(job, '');
      if (hasEnded(job)) return 'done';
    } catch (error) {
      if (this.#job) this.#show(this.#job, errorText(error));
      else
        fill(
          byId('job-problems'),
          el('p', { className: 'problem', role: 'alert' }, errorText(error)),
        );
      if (!(error instanceof ApiError)) return;
      return error.status === 404 ? 'done' : error.retryAfterS * 1000;
    }
  }

  /** @template T @param {string} rest @param {import('./api.js').Call} [call] @returns {Promise<T>} */
  #get(rest, call) {
    return requestJson(`v1/fine_tuning/jobs/${encodeURIComponent(this.#id)}${rest}`, call);
  }

  /** From the newest back to those that are known. */
  async #readEvents() {
    let after = '';
    while (true) {
      /** @type {{ data: import('../openai.ts').FineTuningJobEvent[], has_more: boolean, last_id: string | null }} */
      const page = await this.#get(`/events?limit=${PAGE}${after}`);
      const isKnown = page.data.some(({ id }) => this.#told.has(id));
      this.#told.add(page.data);
      if (!page.has_more || isKnown) return;
      after = `&after=${page.last_id}`;
    }
  }

  /** @param {Job} job @param {string} problem */
  #show(job, problem) {
    fill(
      byId('job-name'),
      jobName(job),
      ' ',
      el('span', { className: `pill ${job.status}` }, statusWord(job)),
    );
    this.#showActions(job);
    showProgress(job);
    const { error } = job;
    fill(
      byId('job-problems'),
      problem !== '' && el('p', { className: 'problem', role: 'alert' }, problem),
      this.#refusal !== '' && el('p', { className: 'problem', role: 'alert' }, this.#refusal),
      error && el('p', { className: 'problem' }, error.message),
      ...this.#told.warnings().map(({ message }) => el('p', { className: 'warning' }, message)),
    );
    this.#showCurves();
    this.#showEvents();
    showResults(job, this.#checkpoints);
    showGates(job);
    void showFacts(job);
  }

  /** @param {Job} job */
  #showActions(job) {
    const { status } = job;
    const wishes = [
      ...(status === 'queued' || status === 'running' ? ['pause'] : []),
      ...(status === 'paused' ? ['resume'] : []),
      ...(hasEnded(job) ? [] : ['cancel']),
    ];
    const place = byId('job-actions');
    if (place.dataset['wishes'] === wishes.join()) return; // whoever is about to press one still can
    const hadFocus = place.contains(document.activeElement);
    place.dataset['wishes'] = wishes.join();
    fill(place, ...wishes.map((wish) => this.#button(wish)));
    if (hadFocus) byId('job-name').focus();
  }

  /** @param {string} wish */
  #button(wish) {
    const className = wish === 'cancel' ? 'danger' : '';
    const label = { pause: 'Pause', resume: 'Resume', cancel: 'Cancel' }[wish];
    return el('button', { type: 'button', className, onclick: () => void this.#wish(wish) }, label);
  }

  /** @param {string} wish */
  async #wish(wish) {
    if (wish === 'cancel' && !confirm('End this job? It cannot be resumed; its checkpoints stay.'))
      return;
    try {
      this.#refusal = '';
      this.#job = await this.#get(`/${wish}`, { method: 'POST' });
    } catch (error) {
      this.#refusal = errorText(error);
    }
    if (this.#job) this.#show(this.#job, '');
  }

  #showCurves() {
    const last = this.#told.last();
    const words = last
      ? `step ${last['step']}, training loss ${shown(last['train_loss'], figure)}`
      : 'no step yet';
    this.#charts.loss.show(this.#told.points(LOSSES), words);
    const right = last
      ? `step ${last['step']}, ${shown(last['train_mean_token_accuracy'], percent)}`
      : 'no step yet';
    this.#charts.accuracy.show(this.#told.points(ACCURACIES), right);
  }

  #showEvents() {
    const list = byId('events');
    const shownCount = Math.min(this.#told.count, MAX_EVENTS);
    if (list.dataset['count'] === String(this.#told.count)) return;
    list.dataset['count'] = String(this.#told.count);
    fill(
      list,
      ...this.#told
        .events()
        .slice(0, shownCount)
        .map(({ created_at: atS, level, message }) =>
          el('li', { className: level }, el('time', {}, timeOfDay(atS)), ' ', message),
        ),
      this.#told.count > shownCount &&
        el('li', {}, `${count(this.#told.count - shownCount)} older ones`),
    );
  }
}

/** @param {Job} job */
function showProgress(job) {
  const progress = progressOf(job);
  const place = byId('job-progress');
  place.hidden = !progress || hasEnded(job);
  if (!progress || place.hidden) return;
  const { step, totalSteps } = progress;
  fill(
    place,
    el('progress', { max: totalSteps, value: step, 'aria-label': 'Progress' }),
    el(
      'p',
      { className: 'help' },
      `Step ${count(step)} of ${count(totalSteps)} · ${progressText(job, Date.now() / 1000)}`,
    ),
  );
}

/** @param {unknown} value @param {(value: number) => string} format */
function shown(value, format) {
  return typeof value === 'number' ? format(value) : 'unknown';
}
