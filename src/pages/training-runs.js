// Runs of training loops that clients write (Tinker's protocol): a list below the jobs, and the page of one run with its loss and
// its checkpoints.
import { ApiError, errorText, poll, requestJson } from './api.js';
import { Chart } from './chart.js';
import {
  byId,
  definitions,
  el,
  fill,
  setText,
  showLoaded,
  showMoreButton,
  showProblemIn,
} from './dom.js';
import { ago, count, dateAndTime, figure, size } from './format.js';
import { formatted } from './job-facts.js';
import { copyButton, createTable, number, tryLink } from './widgets.js';

/** @typedef {import('../contracts/tinker-runs.ts').TinkerRun} Run */
/** @typedef {import('../contracts/tinker-runs.ts').TinkerCheckpoint} Checkpoint */

const POLL_MS = 2_000;
const PAGE_SIZE = 20;
/** The longest page of the server. */
const MAX_PAGE = 1000;
const RUNS = 'api/v1/training_runs';

/** State → its class and what it means. @type {Readonly<Record<Run['lorikeet']['state'], readonly [className: string, help: string]>>} */
const STATES = {
  training: ['running', 'Its client is connected.'],
  ended: ['', 'Its client has left. A new run can continue from a checkpoint.'],
};

/** Whether the server has no such runs. */
let isMissing = false;
/** The runs that the list shows. */
let limit = PAGE_SIZE;

/** @type {ReturnType<typeof createTable> | undefined} */
let showRuns;
/** @type {Chart | undefined} */
let chart;

/** Reads the list again. Without runs it stays hidden. */
export async function refreshRuns() {
  if (isMissing) return;
  try {
    /** @type {{ training_runs: Run[], cursor: { total_count: number } }} */
    const list = await requestJson(`${RUNS}?limit=${limit}`, { isQuiet: true });
    const { training_runs: runs, cursor } = list;
    byId('runs-section').hidden = runs.length === 0;
    if (runs.length === 0) return;
    showRuns ??= createList();
    showMoreButton('more-runs', limit < Math.min(cursor.total_count, MAX_PAGE));
    showRuns(runs.map(toRow));
    setText(byId('runs-help'), '');
  } catch (error) {
    isMissing = error instanceof ApiError && error.status === 404;
    setText(byId('runs-help'), errorText(error));
  }
}

function createList() {
  byId('more-runs').addEventListener('click', () => {
    limit += PAGE_SIZE;
    void refreshRuns();
  });
  return createTable(byId('runs'), {
    caption: 'Your training loops',
    columns: [
      ...['Run', 'State'],
      ...['Loss', 'Steps', 'Rank'].map(number),
      ...['Base model', 'Last request'],
    ],
  });
}

/** @param {Run} run */
function toRow(run) {
  const { training_run_id: id, lorikeet } = run;
  return [
    el('a', { href: `#${id}` }, nameOf(run)),
    statePill(run),
    formatted(lorikeet.loss, figure),
    count(lorikeet.steps),
    count(run.lora_rank),
    run.base_model,
    activity(run),
  ];
}

/** The name that its client gave it in the metadata, else the end of its id, which is its session's and its number. @param {Run} run */
function nameOf({ training_run_id: id, user_metadata: metadata }) {
  return metadata?.['name'] || `Run ${id.slice(-15).replace(':train:', '-')}`;
}

/** @param {Run} run */
function statePill({ lorikeet: { state } }) {
  const [className, title] = STATES[state];
  return el('span', { className: `pill ${className}`, title }, state);
}

/** @param {Run} run */
function activity({ last_request_time: time }) {
  return ago((Date.now() - Date.parse(time)) / 1000);
}

/** Shows a run and follows it. Returns a function that stops it. @param {string} id */
export function watchRun(id) {
  chart ??= new Chart(byId('run-chart'), {
    name: 'Loss by step',
    lines: [{ label: 'Loss per token', color: '--accent' }],
  });
  byId('run').classList.add('loading');
  setText(byId('run-name'), 'Run');
  return poll(POLL_MS, async () => {
    try {
      /** @type {[Run, { checkpoints: Checkpoint[] }]} */
      const [run, { checkpoints }] = await Promise.all([
        requestJson(`${RUNS}/${encodeURIComponent(id)}`),
        requestJson(`${RUNS}/${encodeURIComponent(id)}/checkpoints`),
      ]);
      showProblemIn(byId('run-problem'), '');
      showRun(run, checkpoints);
      return run.lorikeet.state === 'ended' ? 'done' : undefined;
    } catch (error) {
      showProblemIn(byId('run-problem'), errorText(error));
      return error instanceof ApiError && error.status === 404 ? 'done' : undefined;
    } finally {
      showLoaded('run');
    }
  });
}

/** @param {Run} run @param {readonly Checkpoint[]} checkpoints */
function showRun(run, checkpoints) {
  const { training_run_id: id, lorikeet } = run;
  const { losses = [], loss, steps, state } = lorikeet;
  fill(byId('run-name'), nameOf(run), ' ', statePill(run));
  document.title = `${nameOf(run)} · lorikeet`;
  setText(byId('run-help'), STATES[state][1]);
  const points = /** @type {import('./chart.js').Points} */ ([
    losses.map(([step]) => step),
    losses.map(([, value]) => value),
  ]);
  chart?.show(points, `step ${steps}, loss ${formatted(loss, figure)}`);
  const metadata = Object.entries(run.user_metadata ?? {}).filter(([name]) => name !== 'name');
  fill(
    byId('run-facts'),
    ...definitions([
      ['Steps', count(steps)],
      ['Loss per token', formatted(loss, figure)],
      ['Base model', run.base_model],
      ['Rank', count(run.lora_rank)],
      ['Last request', activity(run)],
      ['Run ID', el('code', id)],
      ...metadata,
    ]),
  );
  showCheckpoints(checkpoints);
}

/** Rebuilds the list only if it has changed, so that what is selected or focused stays. @param {readonly Checkpoint[]} checkpoints */
function showCheckpoints(checkpoints) {
  const list = byId('run-checkpoints');
  const state = JSON.stringify(checkpoints);
  if (list.dataset['shown'] === state) return;
  list.dataset['shown'] = state;
  fill(list, ...checkpoints.toReversed().map(toItem));
  const none = 'None yet. save_state and save_weights_for_sampler make them.';
  setText(byId('run-checkpoints-help'), checkpoints.length === 0 ? none : '');
}

/** @param {Checkpoint} checkpoint */
function toItem({ tinker_path: path, checkpoint_type: type, lorikeet: { model }, ...checkpoint }) {
  const { time, size_bytes: bytes, expires_at: expires } = checkpoint;
  const toDate = (/** @type {string} */ text) => dateAndTime(Date.parse(text) / 1000);
  const facts = [toDate(time), size(bytes), expires !== null && `expires ${toDate(expires)}`];
  /** @param {string} name @param {string} text */
  const copied = (name, text) =>
    /** @type {const} */ ([
      name,
      el(
        'span',
        el('code', text),
        ' ',
        copyButton(() => text, `the ${name}`),
      ),
    ]);
  return el(
    'li',
    el(
      'div',
      el('strong', path.slice(path.lastIndexOf('/') + 1)),
      el('span.pill', type === 'training' ? 'continues training' : 'weights only'),
      el('p.help', facts.filter(Boolean).join(' · ')),
      el('dl.pairs', ...definitions([copied('Path', path), copied('Model', model)])),
    ),
    el('div.row', tryLink('a.button.small', { model })),
  );
}
