// The status page: slots, queue, speed, adapters by tier, jobs, read every two seconds while somebody looks. While the
// server does not answer, it shows what it last knew, as old.
import { ApiError, errorText, request, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, el, fill, say } from './dom.js';
import { figuresOfHealth, figuresOfMetrics, ratesBetween, spread } from './figures.js';
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
import { ratePoints, totalsOf } from './load-history.js';
import { poll } from './poll.js';
import { createTable } from './table.js';

/** @typedef {import('./figures.js').Figures} Figures */
/** @typedef {{ atMs: number, figures: Figures }} Reading */

const EVERY_MS = 2_000;
const JOBS_EVERY_MS = 10_000;
/** An hour. */
const MAX_READINGS = 1_800;
/** Latencies are of this much time: shorter, and one slow request is all that they show. */
const LATENCY_MS = 60_000;

/** @type {Readonly<Record<string, string>>} */
const TIER_NAMES = { slot: 'Slots', ram: 'Memory', disk: 'Disk' };

/** Oldest first. @type {Reading[]} */
const readings = [];
/** The reader's key is no admin's. */
let isPublicOnly = false;
/** What the server remembers of the time before this page was opened. @type {import('./load-history.js').TotalsAt[]} */
let remembered = [];
/** Since when the server has not answered, in ms. @type {number | undefined} */
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

poll(EVERY_MS, refresh);
poll(JOBS_EVERY_MS, refreshJobs);

async function refresh() {
  try {
    const figures = await read();
    if (awaySinceMs !== undefined || readings.length === 0) await refreshHistory();
    awaySinceMs = undefined;
    readings.push({ atMs: Date.now(), figures });
    if (readings.length > MAX_READINGS) readings.shift();
    byId('problem').hidden = true;
    byId('figures').classList.remove('stale');
    show(figures);
  } catch (error) {
    showAway(error);
  }
}

/** Once at the start, and after the server was away: it may be another process. */
async function refreshHistory() {
  if (isPublicOnly) return;
  try {
    /** @type {import('../contracts/management-api.ts').MetricsHistory} */
    const history = await requestJson('metrics/history', { isQuiet: true });
    remembered = totalsOf(history);
    showServer(history.server);
  } catch {
    remembered = []; // the page shows what it reads itself
  }
}

/** Nothing on the page looks current while the server does not answer. @param {unknown} error */
function showAway(error) {
  awaySinceMs ??= Date.now();
  const last = readings.at(-1);
  const since = `Not reachable since ${timeOfDay(awaySinceMs / 1000)}`;
  say(byId('state'), since);
  byId('state').classList.add('bad');
  byId('figures').classList.toggle('stale', last !== undefined);
  byId('problem').hidden = false;
  const known = last
    ? ` The figures below are from ${timeOfDay(last.atMs / 1000)}${last.figures.isReady ? ', when it was ready' : ''}.`
    : '';
  say(byId('problem'), `${errorText(error)}${known} This page keeps trying.`);
}

/** @returns {Promise<Figures>} */
async function read() {
  if (!isPublicOnly) {
    try {
      return figuresOfMetrics(await (await request('metrics', { isQuiet: true })).text());
    } catch (error) {
      if (!(error instanceof ApiError) || ![401, 403].includes(error.status)) throw error;
      isPublicOnly = true;
      byId('more').hidden = false;
    }
  }
  const response = await fetch('health', { headers: keyHeaders(), cache: 'no-store' }).catch(() => {
    throw new ApiError('The server does not answer.');
  });
  return figuresOfHealth(await response.json()); // of status 503, too
}

/** @param {Figures} figures */
function show(figures) {
  const { operator } = figures;
  const up = operator ? `, up ${duration(Date.now() / 1000 - operator.startedS)}` : '';
  say(byId('state'), figures.isReady ? `Ready${up}` : 'Starting: the engine is not ready');
  byId('state').classList.toggle('bad', !figures.isReady);
  showTiles(figures);
  showRate();
  showTiers(
    figures.tiers.map(({ name, adapters, bytes, hits, misses, evictions, failed }) => [
      TIER_NAMES[name] ?? name,
      count(adapters),
      bytes === undefined ? '' : size(bytes),
      ...[hits, misses, evictions, failed].map((n) => (n === undefined ? '' : count(n))),
    ]),
  );
  if (operator) showOperator(operator);
}

/** @param {Figures} figures */
function showTiles(figures) {
  const { running, waiting, slots, kvUsage, engineBytes, operator } = figures;
  const rates = ratesBetween(readings.at(-2), /** @type {Reading} */ (readings.at(-1)));
  const tiles = [
    tile('Slots in use', `${running} of ${slots}`, slotCells(running, slots)),
    tile('Waiting', count(waiting), note('requests in the queue')),
    tile('Generation', rates ? compact(rates.generated) : '–', note('tokens per second')),
    tile('Prefill', rates ? compact(rates.prompt) : '–', note('prompt tokens per second')),
    tile('KV cache', percent(kvUsage), note('in use')),
    tile(
      'Memory',
      size(engineBytes),
      note(operator ? `engine; server ${size(operator.serverBytes)}` : 'engine'),
    ),
  ];
  if (operator) {
    const before = readings.findLast(({ atMs }) => atMs < Date.now() - LATENCY_MS) ?? readings[0];
    const since = before?.figures === figures ? undefined : before?.figures.operator;
    tiles.push(
      latency('Time to first token', spread('vllm:time_to_first_token_seconds', since, operator)),
      latency('Inter-token latency', spread('vllm:time_per_output_token_seconds', since, operator)),
    );
  }
  fill(byId('tiles'), ...tiles);
}

/** @param {string} name @param {{ median: number, p95: number } | undefined} times */
function latency(name, times) {
  if (!times) return tile(name, '–', note('no requests in the last minute'));
  return tile(name, duration(times.median), note(`median; p95 ${duration(times.p95)}`));
}

/** @param {string} name @param {string} value @param {HTMLElement} below */
function tile(name, value, below) {
  return el('div', {}, el('dt', {}, name), el('dd', {}, value), below);
}

/** @param {string} text */
function note(text) {
  return el('dd', { className: 'help' }, text);
}

/** A cell per slot; of many, a bar. @param {number} running @param {number} slots */
function slotCells(running, slots) {
  if (slots > 64)
    return el('dd', {}, el('meter', { max: slots, value: running, 'aria-label': 'Slots in use' }));
  const cells = Array.from({ length: slots }, (_, i) =>
    el('i', { className: i < running ? 'full' : '' }),
  );
  return el('dd', { className: 'cells', 'aria-hidden': 'true' }, ...cells);
}

function showRate() {
  const points = ratePoints(remembered, readings, Date.now());
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
    ['Threads', threads === null ? 'chosen by the runtime' : count(threads)],
    ['Processor', `${server.processor}, ${counted(cores, 'core')}`],
    ['Memory', size(server.memory_bytes)],
    ['Platform', `${server.platform}, Node ${server.node}`],
    ['Version', server.version],
  ];
  byId('server-section').hidden = false;
  fill(
    byId('server'),
    ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]),
  );
}

/** @param {import('./figures.js').Operator} operator */
function showOperator({ attached, awaited, fetching, isStorePaused, busiest, base }) {
  const facts = [
    attached.length > 0 && `Attached: ${attached.join(', ')}.`,
    awaited.length > 0 && `Waiting to load: ${awaited.join(', ')}.`,
    fetching > 0 && `${counted(fetching, 'adapter')} being downloaded from the store.`,
    isStorePaused && 'The store does not answer. The server retries.',
  ];
  say(byId('attached'), facts.filter(Boolean).join(' '));
  byId('busiest-section').hidden = false;
  showBusiest(
    [base, ...busiest.slice(0, 10)].map(({ adapter, tenant, requests, input, output }) => [
      adapter,
      tenant,
      ...[requests, input, output].map(count),
    ]),
  );
}

/** A server that does not train has no such route. */
async function refreshJobs() {
  try {
    /** @type {{ data: import('../contracts/openai.ts').FineTuningJob[] }} */
    const { data } = await requestJson('v1/fine_tuning/jobs?limit=10', { isQuiet: true });
    byId('jobs-section').hidden = false;
    byId('jobs').hidden = data.length === 0;
    say(byId('no-jobs'), data.length === 0 ? 'No jobs yet.' : '');
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

/** @param {string} name @returns {import('./table.js').Column} */
function number(name) {
  return { name, isNumber: true };
}
