// The status page: slots, queue, speed, adapters by tier, jobs, read every two seconds while somebody looks.
import { ApiError, errorText, request, requestJson } from './api.js';
import { Chart } from './chart.js';
import { byId, el, fill, say } from './dom.js';
import { figuresOfHealth, figuresOfMetrics, ratesBetween, spread } from './figures.js';
import { compact, count, counted, dateAndTime, duration, percent, size } from './format.js';
import { jobName, progressText, statusWord } from './job-facts.js';
import { poll } from './poll.js';
import { createTable } from './table.js';

/** @typedef {import('./figures.js').Figures} Figures */
/** @typedef {{ atMs: number, figures: Figures }} Reading */

const EVERY_MS = 2_000;
const JOBS_EVERY_MS = 10_000;
/** Ten minutes. */
const MAX_READINGS = 300;
/** Latencies are of this much time: shorter, and one slow request is all that they show. */
const LATENCY_MS = 60_000;

/** @type {Readonly<Record<string, string>>} */
const TIER_NAMES = { slot: 'In slots', ram: 'In memory', disk: 'On the disk' };

/** Oldest first. @type {Reading[]} */
const readings = [];
/** The reader's key is no admin's. */
let isPublicOnly = false;

const rateChart = new Chart(byId('rate'), {
  name: 'Tokens a second',
  isTime: true,
  startsAtZero: true,
  format: compact,
  lines: [
    { label: 'Generated', color: '--accent' },
    { label: 'Read from prompts', color: '--third', isDashed: true },
  ],
});
const showTiers = createTable(byId('tiers'), {
  caption: 'Adapters by tier',
  columns: [
    { name: 'Tier' },
    ...['Adapters', 'Size', 'Found', 'Missed', 'Put out', 'Failed'].map(number),
  ],
});
const showBusiest = createTable(byId('busiest'), {
  caption: 'Busiest adapters',
  columns: [
    { name: 'Adapter' },
    { name: 'Owner' },
    ...['Requests', 'Prompt tokens', 'Generated'].map(number),
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
    readings.push({ atMs: performance.now(), figures });
    if (readings.length > MAX_READINGS) readings.shift();
    byId('problem').hidden = true;
    show(figures);
  } catch (error) {
    byId('problem').hidden = false;
    say(byId('problem'), errorText(error));
  }
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
  const response = await fetch('health', { cache: 'no-store' }).catch(() => {
    throw new ApiError('The server does not answer.');
  });
  return figuresOfHealth(await response.json()); // of status 503, too
}

/** @param {Figures} figures */
function show(figures) {
  const { operator } = figures;
  const up = operator ? `, up ${duration(Date.now() / 1000 - operator.startedS)}` : '';
  say(byId('state'), figures.isReady ? `Ready${up}` : 'The engine is starting');
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
    tile(
      'Waiting',
      count(waiting),
      note(waiting === 0 ? 'nobody waits for a slot' : 'for a slot or an adapter'),
    ),
    tile('Generated', rates ? compact(rates.generated) : '–', note('tokens a second')),
    tile('Read', rates ? compact(rates.prompt) : '–', note('prompt tokens a second')),
    tile('Context in use', percent(kvUsage), note('of all positions of the slots')),
    tile(
      'Memory',
      size(engineBytes),
      note(operator ? `and ${size(operator.serverBytes)} of the server` : 'of the engine'),
    ),
  ];
  if (operator) {
    const before =
      readings.findLast(({ atMs }) => atMs < performance.now() - LATENCY_MS) ?? readings[0];
    const since = before?.figures === figures ? undefined : before?.figures.operator;
    tiles.push(
      latency('First token', spread('vllm:time_to_first_token_seconds', since, operator)),
      latency('Between tokens', spread('vllm:time_per_output_token_seconds', since, operator)),
    );
  }
  fill(byId('tiles'), ...tiles);
}

/** @param {string} name @param {{ median: number, p95: number } | undefined} times */
function latency(name, times) {
  if (!times) return tile(name, '–', note('nothing in the last minute'));
  return tile(name, duration(times.median), note(`1 in 20 over ${duration(times.p95)}`));
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
  const nowMs = performance.now();
  const points = readings.map((reading, i) => {
    const rates = ratesBetween(readings[i - 1], reading);
    return { atS: (Date.now() - (nowMs - reading.atMs)) / 1000, rates };
  });
  const last = points.at(-1)?.rates;
  rateChart.show(
    [
      points.map(({ atS }) => atS),
      points.map(({ rates }) => rates?.generated ?? null),
      points.map(({ rates }) => rates?.prompt ?? null),
    ],
    last ? `${compact(last.generated)} generated, ${compact(last.prompt)} read` : 'no figures yet',
  );
}

/** @param {import('./figures.js').Operator} operator */
function showOperator({ attached, awaited, fetching, isStorePaused, busiest }) {
  const facts = [
    attached.length > 0 && `In slots: ${attached.join(', ')}.`,
    awaited.length > 0 && `Waited for: ${awaited.join(', ')}.`,
    fetching > 0 && `${counted(fetching, 'adapter')} on the way from the store.`,
    isStorePaused && 'The store does not answer: it is asked again in a while.',
  ];
  say(byId('attached'), facts.filter(Boolean).join(' '));
  byId('busiest-section').hidden = busiest.length === 0;
  showBusiest(
    busiest
      .slice(0, 10)
      .map(({ adapter, tenant, requests, input, output }) => [
        adapter,
        tenant,
        ...[requests, input, output].map(count),
      ]),
  );
}

/** A server that does not train has no such route. */
async function refreshJobs() {
  try {
    /** @type {{ data: import('../openai.ts').FineTuningJob[] }} */
    const { data } = await requestJson('v1/fine_tuning/jobs?limit=10', { isQuiet: true });
    byId('jobs-section').hidden = false;
    byId('jobs').hidden = data.length === 0;
    say(byId('no-jobs'), data.length === 0 ? 'There are none.' : '');
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
