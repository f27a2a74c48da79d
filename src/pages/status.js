// The status page: slots, queue, speed, adapter cache, traffic and jobs. If the server stops answering, the page keeps the
// last figures and marks them as old.
import { ApiError, errorText, poll, request, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, definitions, el, fill, setText, showProblemIn } from './dom.js';
import {
  compact,
  count,
  counted,
  dateAndTime,
  duration,
  percent,
  size,
  timeOfDay,
} from './format.js';
import { jobName, progressText, statusWord } from './job-facts.js';
import { keyHeaders } from './key.js';
import {
  latencyBetween,
  ratePoints,
  ratesBetween,
  readingsOfHistory,
  statsOfHealth,
  statsOfMetrics,
} from './server-stats.js';
import { createTable } from './widgets.js';

/** @typedef {import('./server-stats.js').ServerStats} ServerStats */
/** @typedef {{ atMs: number, stats: ServerStats }} Reading */

const POLL_MS = 2_000;
const JOBS_POLL_MS = 10_000;
/** An hour of readings. */
const MAX_READINGS = 1_800;
/** The time span of the latencies. In a shorter one a single slow request would dominate. */
const LATENCY_SPAN_MS = 60_000;

/** @type {Readonly<Record<string, string>>} */
const TIER_NAMES = { slot: 'Slots', ram: 'Memory', disk: 'Disk' };

/** Oldest first. @type {Reading[]} */
const readings = [];
/** Whether the user's key is not an admin key. */
let isPublicOnly = false;
/** The server's own readings from before the page was opened. @type {import('./server-stats.js').TokenReading[]} */
let history = [];
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
  columns: [
    { name: 'Tier' },
    ...['Adapters', 'Size', 'Hits', 'Misses', 'Evictions', 'Failures'].map(number),
  ],
});
const showBusiest = createTable(byId('busiest'), {
  caption: 'Traffic by model since the server started',
  columns: [
    { name: 'Model' },
    { name: 'Tenant' },
    ...['Requests', 'Prompt tokens', 'Generated tokens'].map(number),
  ],
});
const showJobs = createTable(byId('jobs'), {
  caption: 'Your fine-tuning jobs',
  columns: [{ name: 'Job' }, { name: 'Status' }, { name: 'Progress' }, { name: 'Created' }],
});

poll(POLL_MS, refresh);
poll(JOBS_POLL_MS, refreshJobs);

async function refresh() {
  try {
    const stats = await readStats();
    if (awaySinceMs !== undefined || readings.length === 0) await refreshHistory();
    awaySinceMs = undefined;
    readings.push({ atMs: Date.now(), stats });
    if (readings.length > MAX_READINGS) readings.shift();
    showProblemIn(byId('problem'), '');
    byId('figures').classList.remove('stale');
    show(stats);
  } catch (error) {
    showAway(error);
  }
}

/** Called at the start, and when the server responds again, since it may be a new process. */
async function refreshHistory() {
  if (isPublicOnly) return;
  try {
    /** @type {import('../contracts/management-api.ts').MetricsHistory} */
    const answer = await requestJson('metrics/history', { isQuiet: true });
    history = readingsOfHistory(answer);
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
  const known = last
    ? ` The figures below are from ${timeOfDay(last.atMs / 1000)}${last.stats.isReady ? ', when it was ready' : ''}.`
    : '';
  showProblemIn(byId('problem'), `${errorText(error)}${known} This page keeps trying.`);
}

/** @returns {Promise<ServerStats>} */
async function readStats() {
  if (!isPublicOnly) {
    try {
      return statsOfMetrics(await (await request('metrics', { isQuiet: true })).text());
    } catch (error) {
      if (!(error instanceof ApiError) || ![401, 403].includes(error.status)) throw error;
      isPublicOnly = true;
      byId('more').hidden = false;
    }
  }
  const response = await fetch('health', { headers: keyHeaders(), cache: 'no-store' }).catch(() => {
    throw new ApiError('The server does not answer.');
  });
  return statsOfHealth(await response.json()); // also with status 503
}

/** @param {ServerStats} stats */
function show(stats) {
  const { admin } = stats;
  const up = admin ? `, up ${duration(Date.now() / 1000 - admin.startedS)}` : '';
  setText(byId('state'), stats.isReady ? `Ready${up}` : 'Starting: the engine is not ready');
  byId('state').classList.toggle('bad', !stats.isReady);
  showTiles(stats);
  showRate();
  showTiers(
    stats.tiers.map(({ name, adapters, bytes, hits, misses, evictions, failed }) => [
      TIER_NAMES[name] ?? name,
      count(adapters),
      bytes === undefined ? '' : size(bytes),
      ...[hits, misses, evictions, failed].map((n) => (n === undefined ? '' : count(n))),
    ]),
  );
  if (admin) showAdminStats(admin);
}

/** @param {ServerStats} stats */
function showTiles(stats) {
  const { running, waiting, slots, kvUsage, engineBytes, admin } = stats;
  const rates = ratesBetween(readings.at(-2), readings.at(-1));
  const tiles = [
    tile('Slots in use', `${running} of ${slots}`, slotCells(running, slots)),
    tile('Queue', count(waiting), note('waiting requests')),
    tile('Generation', rates ? compact(rates.generated) : '–', note('tokens per second')),
    tile('Prefill', rates ? compact(rates.prompt) : '–', note('prompt tokens per second')),
    tile('KV cache', percent(kvUsage), note('in use')),
    prefixTile(stats.prefixCache),
    tile(
      'Memory',
      size(engineBytes),
      note(admin ? `engine; server ${size(admin.serverBytes)}` : 'engine'),
    ),
  ];
  if (admin) {
    const startMs = Date.now() - LATENCY_SPAN_MS;
    const before = readings.findLast(({ atMs }) => atMs < startMs) ?? readings[0];
    const since = before?.stats === stats ? undefined : before?.stats.admin;
    tiles.push(
      latencyTile(
        'Time to first token',
        latencyBetween('vllm:time_to_first_token_seconds', since, admin),
      ),
      latencyTile(
        'Inter-token latency',
        latencyBetween('vllm:time_per_output_token_seconds', since, admin),
      ),
    );
  }
  fill(byId('tiles'), ...tiles);
}

/** @param {import('./server-stats.js').PrefixCache} cache */
function prefixTile({ queryTokens, hitTokens, bytes, capacityBytes }) {
  if (capacityBytes === 0) return tile('Prefix cache', 'off', note('--prefix-cache turns it on'));
  const share = queryTokens === 0 ? '–' : percent(hitTokens / queryTokens);
  return tile('Prefix cache', share, note(`of prompt tokens; ${size(bytes)} in use`));
}

/** @param {string} name @param {{ median: number, p95: number } | undefined} times */
function latencyTile(name, times) {
  if (!times) return tile(name, '–', note('no requests in the last minute'));
  return tile(name, duration(times.median), note(`median; p95 ${duration(times.p95)}`));
}

/** @param {string} name @param {string} value @param {HTMLElement} below */
function tile(name, value, below) {
  return el('div', el('dt', name), el('dd', value), below);
}

/** @param {string} text */
function note(text) {
  return el('dd.help', text);
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
  const points = ratePoints(history, readings, Date.now());
  const [generated, prompt] = [points[1]?.at(-1), points[2]?.at(-1)];
  rateChart.show(
    points,
    generated == null
      ? 'no figures yet'
      : `${compact(generated)} generated, ${compact(prompt ?? 0)} prompt`,
  );
}

/** @param {Pick<import('../contracts/management-api.ts').MetricsHistory['server'], 'weights' | 'row_form_from'>} server */
function weightsText({ weights, row_form_from: from }) {
  if (weights === null) return 'starting';
  return from === null
    ? weights
    : `${weights}, one scale per token row from ${count(from)} rows on`;
}

/** @param {import('../contracts/management-api.ts').MetricsHistory['server']} server */
function showServer({ threads, cores, ...server }) {
  /** @type {(readonly [string, string])[]} */
  const facts = [
    ['Base model', server.model],
    ['Provider', server.provider ?? 'starting'],
    ['Weights', weightsText(server)],
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

/** @param {import('./server-stats.js').AdminStats} stats */
function showAdminStats({ attached, waiting, fetching, isStorePaused, adapters, base }) {
  const facts = [
    attached.length > 0 && `Attached: ${attached.join(', ')}.`,
    waiting.length > 0 && `Waiting to load: ${waiting.join(', ')}.`,
    fetching > 0 && `Downloading ${counted(fetching, 'adapter')} from the store.`,
    isStorePaused && 'The store does not answer. The server keeps trying.',
  ];
  setText(byId('attached'), facts.filter(Boolean).join(' '));
  byId('busiest-section').hidden = false;
  showBusiest(
    [base, ...adapters.slice(0, 10)].map(({ adapter, tenant, requests, input, output }) => [
      adapter,
      tenant,
      ...[requests, input, output].map(count),
    ]),
  );
}

/** Hides the section on a server without fine-tuning. */
async function refreshJobs() {
  try {
    /** @type {{ data: import('../contracts/openai.ts').FineTuningJob[] }} */
    const { data } = await requestJson('v1/fine_tuning/jobs?limit=10', { isQuiet: true });
    byId('jobs-section').hidden = false;
    byId('jobs').hidden = data.length === 0;
    setText(byId('no-jobs'), data.length === 0 ? 'No jobs yet.' : '');
    showJobs(
      data.map((job) => [
        el('a', { href: `fine-tuning#${job.id}` }, jobName(job)),
        el('span', { className: `pill ${job.status}` }, statusWord(job)),
        progressText(job, Date.now() / 1000),
        dateAndTime(job.created_at),
      ]),
    );
    return;
  } catch (error) {
    byId('jobs-section').hidden = true;
    return error instanceof ApiError && error.status === 404 ? 'done' : undefined;
  }
}

/** @param {string} name @returns {import('./widgets.js').Column} */
function number(name) {
  return { name, isNumber: true };
}
