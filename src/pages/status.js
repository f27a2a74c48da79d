// The status page: slots, queue, speed, adapter cache, traffic, jobs and batches. If the server stops answering, the page keeps
// the last figures and marks them as old.
import { ApiError, errorText, poll, requestJson } from './api.js';
import { refreshBatches } from './batch-list.js';
import { Chart } from './chart.js';
import { byId, definitions, el, fill, setText, showLoaded, showProblemIn } from './dom.js';
import {
  compact,
  count,
  counted,
  dateAndTime,
  duration,
  hourAndMinute,
  percent,
  size,
  timeOfDay,
} from './format.js';
import { jobName } from './job-facts.js';
import { statusCell } from './job-list.js';
import { keyHeaders } from './key.js';
import { refreshRequests } from './request-list.js';
import {
  adapterFacts,
  cpuBetween,
  halfHours,
  latencyBetween,
  ratePoints,
  ratesBetween,
  statusOfHealth,
} from './server-stats.js';
import { createTable, number, tile } from './widgets.js';

/** @typedef {import('./server-stats.js').MetricsStatus} MetricsStatus */
/** @typedef {import('./server-stats.js').ServerStatus} ServerStatus */
/** @typedef {import('./server-stats.js').TokenReading & { status: ServerStatus }} Reading */

const POLL_MS = 2_000;
const LISTS_POLL_MS = 10_000;
const JOBS_WAIT_MS = 1_000;
/** A new half hour appears this late at most. */
const HISTORY_MS = 600_000;
/** An hour of readings. */
const MAX_READINGS = 1_800;
/** The time span of the latencies. In a shorter one a single slow request would dominate. */
const LATENCY_SPAN_S = 60;

/** @type {Readonly<Record<string, string>>} */
const TIER_NAMES = { slot: 'Slots', ram: 'Memory', disk: 'Disk' };

/** Oldest first. @type {Reading[]} */
const readings = [];
/** Whether the user's key is not an admin key. */
let isPublicOnly = false;
/** The server's own readings from before the page was opened. @type {readonly import('./server-stats.js').TokenReading[]} */
let history = [];
/** When they were read. */
let historyMs = 0;
/** Its totals of latencies and errors. @type {import('../contracts/management-api.ts').MetricsHistory['hours']} */
let hours = [];
/** The machine's cores. @type {number | undefined} */
let cores;
/** When the server stopped answering. @type {number | undefined} */
let awaySinceMs;

const rateChart = new Chart(byId('rate'), {
  name: 'Tokens per second',
  isTime: true,
  startsAtZero: true,
  format: compact,
  lines: [
    { label: 'Generated', color: '--accent' },
    { label: 'Prompt', color: '--third', isDashed: true },
  ],
});
const showTiers = createTable(byId('tiers'), {
  caption: 'Adapter cache by tier',
  columns: ['Tier', ...['Adapters', 'Size', 'Hits', 'Misses', 'Evictions', 'Failures'].map(number)],
});
const showBusiest = createTable(byId('busiest'), {
  caption: 'Traffic by model since the server started',
  columns: ['Model', 'Tenant', ...['Requests', 'Prompt tokens', 'Generated tokens'].map(number)],
});
const showHours = createTable(byId('hours'), {
  caption: 'Latencies and errors by half hour',
  columns: ['From', ...['First token p50', 'p95', 'Next token p50', 'p95', 'Errors'].map(number)],
});
const showErrors = createTable(byId('errors'), {
  caption: 'Refused and failed requests since the server started',
  columns: ['Error', number('Requests')],
});
const showJobs = createTable(byId('jobs'), {
  caption: 'Your fine-tuning jobs',
  columns: ['Job', 'Status', 'Created'],
});

/** Resolves when the jobs are shown. */
let jobs = Promise.resolve();
let stopLists = pollLists();
poll(POLL_MS, () => refresh().finally(showLoaded));
addEventListener('signin', () => {
  for (const stop of stopLists) stop();
  stopLists = pollLists();
});

function pollLists() {
  const pollJobs = () => {
    const refreshing = refreshJobs();
    jobs = refreshing.then(() => {});
    return refreshing;
  };
  return [pollJobs, refreshBatches].map((refreshList) => poll(LISTS_POLL_MS, refreshList));
}

/** Stops if the user declines to sign in. Signing in later reloads the page. */
async function refresh() {
  try {
    const status = await readStatus();
    const isOld = Date.now() - historyMs > HISTORY_MS;
    if (awaySinceMs !== undefined || isOld) await refreshHistory();
    awaySinceMs = undefined;
    const { prompt_tokens = null, generated_tokens = null } = status.engine ?? {};
    readings.push({ at: Date.now() / 1000, prompt_tokens, generated_tokens, status });
    if (readings.length > MAX_READINGS) readings.shift();
    showProblemIn(byId('problem'), '');
    // Everything appears together, unless the jobs take long.
    if (readings.length === 1) {
      await Promise.race([jobs, new Promise((resolve) => setTimeout(resolve, JOBS_WAIT_MS))]);
    }
    const cpu = cpuBetween(readings.at(-2), readings.at(-1));
    await refreshRequests({ engine: status.engine, cpu, cores });
    byId('figures').hidden = false;
    byId('figures').classList.remove('stale');
    show(status);
    return;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) return showAway(error);
    setText(byId('state'), 'Not signed in');
    showProblemIn(byId('problem'), errorText(error));
    byId('figures').hidden = true;
    return 'done';
  }
}

/** Called now and then, and when the server responds again, since it may be a new process. */
async function refreshHistory() {
  historyMs = Date.now();
  if (isPublicOnly) return;
  try {
    /** @type {import('../contracts/management-api.ts').MetricsHistory} */
    const answer = await requestJson('metrics/history', { isQuiet: true });
    history = answer.samples;
    hours = answer.hours;
    cores = answer.server.cores;
    showServer(answer.server);
  } catch {
    history = []; // the page's own readings are enough
  }
}

/** Marks everything on the page as stale. @param {unknown} error */
function showAway(error) {
  awaySinceMs ??= Date.now();
  const last = readings.at(-1);
  setText(byId('state'), `Not reachable since ${timeOfDay(awaySinceMs / 1000)}`);
  byId('state').classList.add('bad');
  byId('figures').classList.toggle('stale', last !== undefined);
  const age = last
    ? ` The figures below are from ${timeOfDay(last.at)}${last.status.is_ready ? ', when it was ready' : ''}.`
    : '';
  showProblemIn(byId('problem'), `${errorText(error)}${age} This page keeps trying.`);
}

/** Asks for a key if the server needs one. @returns {Promise<ServerStatus>} */
async function readStatus() {
  if (isPublicOnly) {
    const health = await readHealth();
    if ('processor' in health) return statusOfHealth(health); // else the key was revoked
  }
  try {
    /** @type {MetricsStatus} */
    const status = await requestJson('metrics/status');
    setPublicOnly(false);
    return status;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    setPublicOnly(true);
    return statusOfHealth(await readHealth());
  }
}

/** @param {boolean} isOnly */
function setPublicOnly(isOnly) {
  isPublicOnly = isOnly;
  byId('more').hidden = !isOnly;
}

async function readHealth() {
  const response = await fetch('health', { headers: keyHeaders(), cache: 'no-store' }).catch(() => {
    throw new ApiError('The server does not answer.');
  });
  return response.json(); // also with status 503
}

/** @param {ServerStatus} status */
function show(status) {
  const { is_ready: isReady, engine, tiers } = status;
  const admin = 'server' in status ? status : undefined;
  const up = admin ? `, up ${duration(Date.now() / 1000 - admin.server.started_at)}` : '';
  setText(byId('state'), isReady ? `Ready${up}` : 'Starting: the engine is not ready');
  byId('state').classList.toggle('bad', !isReady);
  fill(
    byId('tiles'),
    ...(engine ? engineTiles(engine, admin) : []),
    ...(admin ? [cpuTile(), ...latencyTiles(admin)] : []),
  );
  showRate();
  showTiers(
    tiers.map(({ tier, adapters, bytes, hits, misses, evictions, failed }) => [
      TIER_NAMES[tier],
      count(adapters),
      bytes === undefined ? '' : size(bytes),
      ...[hits, misses, evictions, failed].map((n) => (n === undefined ? '' : count(n))),
    ]),
  );
  if (admin) showAdminStatus(admin);
}

/** @param {NonNullable<ServerStatus['engine']>} engine @param {MetricsStatus | undefined} admin */
function engineTiles(engine, admin) {
  const { running, waiting, slots } = engine;
  const rates = ratesBetween(readings.at(-2), readings.at(-1));
  const server = admin ? `; server ${size(admin.server.memory_bytes)}` : '';
  return [
    tile('Slots in use', `${running} of ${slots}`, slotCells(running, slots)),
    tile('Queue', count(waiting), 'waiting requests'),
    tile('Generation', rates ? compact(rates.generated) : '–', 'tokens per second'),
    tile('Prefill', rates ? compact(rates.prompt) : '–', 'prompt tokens per second'),
    tile('KV cache', percent(engine.kv_usage), 'in use'),
    prefixTile(engine),
    tile('Memory', size(engine.memory_bytes), `engine${server}`),
  ];
}

function cpuTile() {
  const use = cpuBetween(readings.at(-2), readings.at(-1));
  const text = (/** @type {number | undefined} */ one) =>
    one === undefined ? '–' : one.toFixed(1);
  const trainer = use?.trainer === undefined ? '' : `, trainer ${text(use.trainer)}`;
  const of = cores === undefined ? '' : ` of ${counted(cores, 'core')}`;
  return tile('CPU', text(use?.engine), `engine, server ${text(use?.server)}${trainer}${of}`);
}

/** @param {MetricsStatus} status */
function latencyTiles(status) {
  const start = Date.now() / 1000 - LATENCY_SPAN_S;
  const before = (readings.findLast(({ at }) => at < start) ?? readings[0])?.status;
  const since = before && before !== status && 'server' in before ? before : undefined;
  return [
    latencyTile('Time to first token', latencyBetween('time_to_first_token', since, status)),
    latencyTile('Inter-token latency', latencyBetween('inter_token_latency', since, status)),
  ];
}

/** @param {NonNullable<ServerStatus['engine']>} engine */
function prefixTile(engine) {
  const { prefix_query_tokens: queried, prefix_hit_tokens: hits } = engine;
  if (engine.prefix_capacity_bytes === 0)
    return tile('Prefix cache', 'off', '--prefix-cache turns it on');
  const share = queried === 0 ? '–' : percent(hits / queried);
  return tile('Prefix cache', share, `of prompt tokens; ${size(engine.prefix_bytes)} in use`);
}

/** @param {string} name @param {{ median: string, p95: string } | undefined} times */
function latencyTile(name, times) {
  if (!times) return tile(name, '–', 'no requests in the last minute');
  return tile(name, times.median, `median; p95 ${times.p95}`);
}

/** Shows a cell per slot, or a bar if there are many slots. @param {number} running @param {number} slots */
function slotCells(running, slots) {
  if (slots > 64)
    return el('dd', el('meter', { max: slots, value: running, 'aria-label': 'Slots in use' }));
  const cells = Array.from({ length: slots }, (_, i) =>
    el('i', { className: i < running ? 'full' : '' }),
  );
  return el('dd.cells', { 'aria-hidden': 'true' }, ...cells);
}

function showRate() {
  const points = ratePoints(history, readings, Date.now() / 1000);
  const [generated, prompt] = [points[1]?.at(-1), points[2]?.at(-1)];
  rateChart.show(
    points,
    generated == null
      ? 'no figures yet'
      : `${compact(generated)} generated, ${compact(prompt ?? 0)} prompt`,
  );
}

/** @param {import('../contracts/management-api.ts').MetricsHistory['server']} server */
function showServer({ threads, cores, ...server }) {
  /** @type {(readonly [string, string])[]} */
  const facts = [
    ['Base model', server.model],
    ['Provider', server.provider ?? 'starting'],
    ['Weights', server.weights ?? 'starting'],
    ['KV cache', server.kv ?? 'starting'],
    ['Threads', threads === null ? 'automatic' : count(threads)],
    ['CPU', `${server.processor}, ${counted(cores, 'core')}`],
    ['Instructions', server.processor_features?.join(', ') || 'unknown'],
    ['Memory', size(server.memory_bytes)],
    ['Platform', `${server.platform}, Node ${server.node}`],
    ['Version', server.version],
  ];
  byId('server-section').hidden = false;
  fill(byId('server'), ...definitions(facts));
}

/** @param {MetricsStatus} status */
function showAdminStatus({ usage, ...status }) {
  byId('hours-section').hidden = false;
  showHours(
    halfHours(hours, { usage, ...status }, Date.now() / 1000).map(
      ({ from, first, next, errors }) => [
        hourAndMinute(from),
        ...[first?.median, first?.p95, next?.median, next?.p95].map((text) => text ?? '–'),
        count(errors),
      ],
    ),
  );
  byId('errors').hidden = status.errors.length === 0;
  showErrors(status.errors.map(({ code, count: n }) => [code.replaceAll('_', ' '), count(n)]));
  setText(byId('attached'), adapterFacts(status).join(' '));
  byId('busiest-section').hidden = false;
  showBusiest(
    usage
      .slice(0, 11)
      .map(({ model, tenant, requests, input_tokens, output_tokens }) => [
        tenant === null ? `${model} (base)` : model,
        tenant ?? 'all',
        ...[requests, input_tokens, output_tokens].map(count),
      ]),
  );
}

/** Hides the section on a server without fine-tuning, and without a key that the server needs. */
async function refreshJobs() {
  try {
    /** @type {{ data: import('../contracts/fine-tuning-api.ts').FineTuningJob[] }} */
    const { data } = await requestJson('v1/fine_tuning/jobs?limit=10', { isQuiet: true });
    byId('jobs-section').hidden = false;
    byId('jobs').hidden = data.length === 0;
    setText(byId('no-jobs'), data.length === 0 ? 'No jobs yet.' : '');
    showJobs(
      data.map((job) => [
        el('a', { href: `fine-tuning#${job.id}` }, jobName(job)),
        statusCell(job),
        dateAndTime(job.created_at),
      ]),
    );
    return;
  } catch (error) {
    byId('jobs-section').hidden = true;
    return error instanceof ApiError && [401, 404].includes(error.status) ? 'done' : undefined;
  }
}
