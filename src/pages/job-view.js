// A job's page: result, curves, warnings, events and checkpoints, refreshed while the job runs.
import { ApiError, errorText, poll, requestJson } from './api.js';
import { byId, el, fill, problemText, setText, showLoaded } from './dom.js';
import { count, timeOfDay } from './format.js';
import { adviceFor } from './job-advice.js';
import { JobCharts } from './job-charts.js';
import { showCheckpoints, showGates, showResult, showSettings } from './job-details.js';
import { EventLog } from './job-events.js';
import {
  isFinished,
  jobName,
  learnsRewards,
  progressOf,
  progressText,
  statusWord,
} from './job-facts.js';
import { SampleBrowser } from './job-samples.js';
import { confirmAction } from './widgets.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */
/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJobCheckpoint} Checkpoint */

const POLL_MS = 1_500;
/** The most events shown. Older ones are only in the API. */
const MAX_EVENTS = 300;

const CANCEL = {
  title: 'Cancel this job?',
  text: 'It cannot be resumed, but its checkpoints are kept.',
  action: 'Cancel job',
  no: 'Keep it running',
};

/** Actions of the user, and the statuses that allow it. @type {readonly (readonly [label: string, statuses: readonly Job['status'][]])[]} */
const ACTIONS = [
  ['Pause', ['queued', 'running']],
  ['Resume', ['paused']],
  ['Cancel', ['validating_files', 'queued', 'running', 'paused']],
];

/** The page's charts, created once. @type {JobCharts | undefined} */
let charts;

/** Shows a job and follows it. Returns a function that stops it. @param {string} id */
export function watchJob(id) {
  charts ??= new JobCharts();
  const view = new JobView(id, charts);
  const stop = poll(POLL_MS, () => view.refresh());
  return () => {
    view.leave();
    stop();
  };
}

class JobView {
  #id;
  #charts;
  #log = new EventLog();
  #samples;
  /** They stay on the page, because a button that is replaced loses its focus, and a click. */
  #buttons = ACTIONS.map(([label]) =>
    el('button', { hidden: true, onclick: () => void this.#act(label.toLowerCase()) }, label),
  );
  /** The newest step when the samples were read. @type {unknown} */
  #sampledAt;
  /** @type {Checkpoint[]} */
  #checkpoints = [];
  /** The number of events when the checkpoints were read. */
  #checkpointsAt = -1;
  /** @type {Job | undefined} */
  #job;
  /** Why the user's last action failed. */
  #refusal = '';
  /** Late responses are dropped once the page shows something else. */
  #isLeft = false;

  /** @param {string} id @param {JobCharts} charts */
  constructor(id, charts) {
    this.#id = id;
    this.#samples = new SampleBrowser(id);
    this.#charts = charts;
    setText(byId('job-name'), id);
    byId('job').classList.add('loading');
    const parts = ['job-progress', 'job-problems', 'outcome', 'events', 'downloads'];
    for (const part of parts) fill(byId(part));
    this.#buttons.at(-1)?.classList.add('danger');
    const repeat = el('a.button', { href: `#repeat-${id}` }, 'Repeat with changes');
    fill(byId('job-actions'), ...this.#buttons, repeat);
    byId('events').dataset['count'] = '';
    byId('results').dataset['shown'] = '';
    byId('results').hidden = true;
    byId('events').tabIndex = 0; // it scrolls
    this.#charts.show(undefined, this.#log);
  }

  leave() {
    this.#isLeft = true;
    this.#samples.leave();
  }

  /** @returns {Promise<'done' | number | void>} */
  async refresh() {
    try {
      /** @type {Job} */
      const job = await this.#get('');
      this.#job = job;
      await this.#log.update(this.#id);
      if (this.#checkpointsAt !== this.#log.count) {
        ({ data: this.#checkpoints } = await this.#get('/checkpoints?limit=10'));
        this.#checkpointsAt = this.#log.count;
      }
      if (learnsRewards(job)) await this.#updateSamples(job);
      await this.#show(job, '');
      if (isFinished(job)) return 'done';
    } catch (error) {
      if (this.#isLeft) return 'done';
      if (this.#job) await this.#show(this.#job, errorText(error));
      else fill(byId('job-problems'), problemText(errorText(error)));
      showLoaded('job');
      if (!(error instanceof ApiError)) return;
      return error.status === 404 ? 'done' : error.retryAfterS * 1000;
    }
  }

  /** The samples of a step come before its event. @param {Job} job */
  async #updateSamples(job) {
    const step = this.#log.last()?.step ?? 0;
    if (step === this.#sampledAt && !isFinished(job)) return;
    await this.#samples.update();
    this.#sampledAt = step;
  }

  /** @template T @param {string} rest @param {import('./api.js').RequestOptions} [call] @returns {Promise<T>} */
  #get(rest, call) {
    return requestJson(`v1/fine_tuning/jobs/${encodeURIComponent(this.#id)}${rest}`, call);
  }

  /** @param {Job} job @param {string} problem */
  async #show(job, problem) {
    await showSettings(job);
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
      problem !== '' && problemText(problem),
      this.#refusal !== '' && problemText(this.#refusal),
      error && el('p.problem', error.message),
      adviceNote(job),
      ...this.#log.warnings().map(({ message }) => el('p.warning', message)),
    );
    const keptStep = job.lorikeet.kept_step;
    const keptMetrics = typeof keptStep === 'number' ? this.#log.at(keptStep) : undefined;
    showResult(job, this.#log.last(), keptMetrics ?? this.#log.lastValidated());
    this.#charts.show(job, this.#log);
    this.#showEvents();
    showCheckpoints(job, this.#checkpoints, keptMetrics);
    showGates(job);
    showLoaded('job');
  }

  /** Shows what the user can do now. If the button that has the focus is hidden, the next one gets it. @param {Job} job */
  #showActions({ status }) {
    const focused = this.#buttons.find((button) => button === document.activeElement);
    for (const [i, [, statuses]] of ACTIONS.entries()) {
      this.#buttons[i]?.toggleAttribute('hidden', !statuses.includes(status));
    }
    if (!focused?.hidden) return;
    (this.#buttons.find((button) => !button.hidden) ?? byId('job-name')).focus();
  }

  /** @param {string} action */
  async #act(action) {
    if (action === 'cancel' && !(await confirmAction(CANCEL))) return;
    try {
      this.#refusal = '';
      this.#job = await this.#get(`/${action}`, { method: 'POST' });
    } catch (error) {
      this.#refusal = errorText(error);
    }
    if (this.#job) await this.#show(this.#job, '');
  }

  #showEvents() {
    const list = byId('events');
    const shownCount = Math.min(this.#log.count, MAX_EVENTS);
    if (list.dataset['count'] === String(this.#log.count)) return;
    list.dataset['count'] = String(this.#log.count);
    fill(
      list,
      ...this.#log
        .events()
        .slice(0, shownCount)
        .map(({ created_at: atS, level, message }) =>
          el('li', { className: level }, el('time', timeOfDay(atS)), ' ', message),
        ),
      this.#log.count > shownCount &&
        el('li', `${count(this.#log.count - shownCount)} older events`),
    );
  }
}

/** Says what to try next after a failure, with a link to a job that tries it. @param {Job} job */
function adviceNote(job) {
  const advice = adviceFor(job);
  if (!advice) return null;
  const changes = new URLSearchParams(advice.changes).toString();
  const href = `#repeat-${job.id}${changes && `&${changes}`}`;
  return el('p.notice', advice.text, ' ', el('a', { href }, 'Try this'));
}

/** @param {Job} job */
function showProgress(job) {
  const progress = progressOf(job);
  const area = byId('job-progress');
  area.hidden = !progress || isFinished(job);
  if (!progress || area.hidden) return;
  const { step, totalSteps } = progress;
  fill(
    area,
    el('progress', { max: totalSteps, value: step, 'aria-label': 'Progress' }),
    el(
      'p.help',
      `Step ${count(step)} of ${count(totalSteps)} · ${progressText(job, Date.now() / 1000)}`,
    ),
  );
}
