// One job, followed while it runs: outcome, curves, warnings, events, and its checkpoints to try.
import { ApiError, errorText, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, el, fill, say } from './dom.js';
import { count, figure, percent, timeOfDay } from './format.js';
import { Told } from './job-curves.js';
import { showFacts, showGates } from './job-details.js';
import { readEvents } from './job-events.js';
import { hasEnded, jobName, progressOf, progressText, statusWord } from './job-facts.js';
import { shown, showOutcome } from './job-outcome.js';
import { showResults } from './job-results.js';
import { poll } from './poll.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */
/** @typedef {import('../contracts/openai.ts').FineTuningJobCheckpoint} Checkpoint */

const EVERY_MS = 1_500;
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

/** Shows the job until the function that it returns is called. @param {string} id */
export function watchJob(id) {
  drawn ??= {
    loss: new Chart(byId('loss-chart'), { name: 'Loss by step', lines: LINES }),
    accuracy: new Chart(byId('accuracy-chart'), {
      name: 'Token accuracy by step',
      lines: LINES,
      format: percent,
    }),
  };
  const view = new JobView(id, drawn);
  const end = poll(EVERY_MS, () => view.refresh());
  return () => {
    view.leave();
    end();
  };
}

class JobView {
  #id;
  #charts;
  #told = new Told();
  /** @type {Checkpoint[]} */
  #checkpoints = [];
  /** How many events there were when the checkpoints were read. */
  #checkpointsAt = -1;
  /** @type {Job | undefined} */
  #job;
  /** Why the reader's last action was refused. */
  #refusal = '';
  /** The page shows something else: answers that come late are dropped. */
  #isLeft = false;

  /** @param {string} id @param {{ loss: Chart, accuracy: Chart }} charts */
  constructor(id, charts) {
    this.#id = id;
    this.#charts = charts;
    say(byId('job-name'), id);
    const places = [
      'job-actions',
      'job-progress',
      'job-problems',
      'outcome',
      'events',
      'downloads',
    ];
    for (const place of places) fill(byId(place));
    byId('job-actions').dataset['actions'] = '-';
    byId('events').dataset['count'] = '';
    byId('results').dataset['shown'] = '';
    byId('results').hidden = true;
    byId('events').tabIndex = 0; // it scrolls
    this.#showCurves();
  }

  leave() {
    this.#isLeft = true;
  }

  /** @returns {Promise<'done' | number | void>} */
  async refresh() {
    try {
      /** @type {Job} */
      const job = await this.#get('');
      this.#job = job;
      await readEvents(this.#id, this.#told);
      if (this.#checkpointsAt !== this.#told.count) {
        ({ data: this.#checkpoints } = await this.#get('/checkpoints?limit=10'));
        this.#checkpointsAt = this.#told.count;
      }
      this.#show(job, '');
      if (hasEnded(job)) return 'done';
    } catch (error) {
      if (this.#isLeft) return 'done';
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

  /** @param {Job} job @param {string} problem */
  #show(job, problem) {
    if (this.#isLeft) return;
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
    const keptStep = job.lorikeet['kept_step'];
    const kept = typeof keptStep === 'number' ? this.#told.at(keptStep) : undefined;
    showOutcome(job, this.#told.last(), kept ?? this.#told.lastValidated());
    this.#showCurves();
    this.#showEvents();
    showResults(job, this.#checkpoints, kept);
    showGates(job);
    void showFacts(job);
  }

  /** @param {Job} job */
  #showActions(job) {
    const { status } = job;
    const actions = [
      ...(status === 'queued' || status === 'running' ? ['pause'] : []),
      ...(status === 'paused' ? ['resume'] : []),
      ...(hasEnded(job) ? [] : ['cancel']),
    ];
    const place = byId('job-actions');
    if (place.dataset['actions'] === actions.join()) return; // whoever is about to press one still can
    const hadFocus = place.contains(document.activeElement);
    place.dataset['actions'] = actions.join();
    fill(
      place,
      ...actions.map((action) => this.#button(action)),
      el('a', { className: 'button', href: `#repeat-${this.#id}` }, 'Repeat with changes'),
    );
    if (hadFocus) byId('job-name').focus();
  }

  /** @param {string} action */
  #button(action) {
    const className = action === 'cancel' ? 'danger' : '';
    const label = { pause: 'Pause', resume: 'Resume', cancel: 'Cancel' }[action];
    return el(
      'button',
      { type: 'button', className, onclick: () => void this.#act(action) },
      label,
    );
  }

  /** @param {string} action */
  async #act(action) {
    const question = 'Cancel this job? It cannot be resumed; its checkpoints stay.';
    if (action === 'cancel' && !confirm(question)) return;
    try {
      this.#refusal = '';
      this.#job = await this.#get(`/${action}`, { method: 'POST' });
    } catch (error) {
      this.#refusal = errorText(error);
    }
    if (this.#job) this.#show(this.#job, '');
  }

  #showCurves() {
    const last = this.#told.last();
    const loss = last
      ? `step ${last['step']}, training loss ${shown(last['train_loss'], figure)}`
      : 'no step yet';
    this.#charts.loss.show(this.#told.points(LOSSES), loss);
    const accuracy = last
      ? `step ${last['step']}, ${shown(last['train_mean_token_accuracy'], percent)}`
      : 'no step yet';
    this.#charts.accuracy.show(this.#told.points(ACCURACIES), accuracy);
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
