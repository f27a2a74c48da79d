// The figures of the status page, from /metrics/status, or from /health without an admin key, and their rates over time.

import { counted, duration, figure } from './format.js';

/** @typedef {import('../contracts/management-api.ts').MetricsStatus} MetricsStatus */
/** @typedef {import('../contracts/management-api.ts').RequestList} RequestList */
/** The figures that every key may see. @typedef {{ is_ready: boolean, engine: import('../contracts/management-api.ts').EngineFigures | null, tiers: import('../contracts/management-api.ts').Tiers }} PublicStatus */
/** CPU seconds per second, by process; undefined if unknown. @typedef {Readonly<Record<'server' | 'engine' | 'trainer', number | undefined>>} CpuUse */
/** The engine's load, and the use of the CPU if it is known. @typedef {{ engine: PublicStatus['engine'], cpu?: CpuUse | undefined, cores?: number | undefined }} Load */
/** @typedef {MetricsStatus | PublicStatus} ServerStatus */
/** @typedef {MetricsStatus['usage'][number]} Usage */
/** @typedef {import('../contracts/management-api.ts').MetricsHistory['samples'][number]} Sample */
/** Token totals; null if the engine was not running. @typedef {Pick<Sample, 'at' | 'prompt_tokens' | 'generated_tokens'>} TokenReading */
/** Tokens per second. @typedef {{ generated: number, prompt: number }} TokenRates */

/** Returns the figures in the body of /health. @param {{ status: string } & Pick<PublicStatus, 'engine'> & Partial<Pick<PublicStatus, 'tiers'>>} health @returns {PublicStatus} */
export function statusOfHealth({ status, engine, tiers = [] }) {
  return { is_ready: status === 'ready', engine, tiers };
}

/** Returns what the server does with adapters, one sentence each. @param {Pick<MetricsStatus, 'attached' | 'awaited' | 'fetching' | 'is_store_paused'>} status */
export function adapterFacts({ attached, awaited, fetching, is_store_paused: isPaused }) {
  // Requests also wait for adapters in slots: for a free KV slot.
  const loading = awaited.filter((name) => !attached.includes(name));
  return [
    attached.length > 0 && `Attached: ${attached.join(', ')}.`,
    loading.length > 0 && `Waiting to load: ${loading.join(', ')}.`,
    fetching > 0 && `Downloading ${counted(fetching, 'adapter')} from the store.`,
    isPaused && 'The store does not answer. The server keeps trying.',
  ].filter((fact) => fact !== false);
}

/**
 * Returns how many cores each process used between two readings; undefined if there are not two.
 * @param {{ at: number, status: ServerStatus } | undefined} before
 * @param {{ at: number, status: ServerStatus } | undefined} after
 * @returns {CpuUse | undefined}
 */
export function cpuBetween(before, after) {
  if (!before || !after || !('server' in before.status) || !('server' in after.status))
    return undefined;
  const seconds = after.at - before.at;
  const [a, b] = [before.status, after.status];
  /** A process that ended or started between the readings has no rate. @param {number | null | undefined} from @param {number | null | undefined} to */
  const rate = (from, to) =>
    from == null || to == null || to < from ? undefined : (to - from) / seconds;
  return {
    server: rate(a.server.cpu_s, b.server.cpu_s),
    engine: rate(a.engine?.cpu_s, b.engine?.cpu_s),
    trainer: rate(a.trainer_cpu_s, b.trainer_cpu_s),
  };
}

/**
 * Returns why requests are slow now, one sentence each; at least one.
 * @param {RequestList} list
 * @param {Load} load
 * @returns {string[]}
 */
export function reasonsOf({ data, is_training: isTraining }, { engine, cpu, cores }) {
  /** @param {string} text @param {(request: RequestList['data'][number]) => boolean} test */
  const ofRequests = (text, test) => {
    const matches = data.filter(test).length;
    return matches > 0 && `${counted(matches, 'request')}: ${text}`;
  };
  const full = engine && engine.running >= engine.slots && engine.waiting > 0;
  const used = Object.values(cpu ?? {}).reduce(
    (/** @type {number} */ sum, one) => sum + (one ?? 0),
    0,
  );
  const reasons = [
    full &&
      `All ${counted(engine.slots, 'slot')} are taken, with ${counted(engine.waiting, 'request')} in the queue.`,
    ofRequests('the adapter is being loaded.', ({ state }) => state === 'loading'),
    ofRequests('the tenant has its share of the slots.', ({ reason }) => reason === 'tenant_share'),
    ofRequests(
      'a prompt of more than 1,000 tokens is being read.',
      ({ state, prompt_tokens: tokens }) => state === 'prefill' && tokens > 1_000,
    ),
    data.some(({ reason }) => reason === 'paused') && 'The server is paused.',
    isTraining &&
      `A fine-tuning job uses the same cores${cpu?.trainer ? `: ${figure(cpu.trainer)} of them` : ''}.`,
    cores !== undefined &&
      used > 0.9 * cores &&
      `The CPU is busy: ${figure(used)} of ${counted(cores, 'core')}.`,
  ].filter((reason) => typeof reason === 'string');
  return reasons.length > 0 ? reasons : ['Nothing waits, and no fine-tuning job runs.'];
}

/**
 * Sums up the requests that have ended lately, for users without the server's own figures; empty if there are none.
 * @param {RequestList['data']} requests
 */
export function recentText(requests) {
  const ended = requests.filter(({ outcome }) => outcome !== null);
  if (ended.length === 0) return '';
  const failed = ended.filter(({ outcome }) => outcome !== 'ok' && outcome !== 'aborted').length;
  const answered = ended.filter(({ decode_ms: decodeMs }) => decodeMs !== null);
  const first = answered.map(
    ({ waiting_ms: waiting, prefill_ms: prefill }) => waiting + (prefill ?? 0),
  );
  const next = answered
    .filter(({ output_tokens: tokens }) => tokens > 1)
    .map(({ decode_ms: decode, output_tokens: tokens }) => (decode ?? 0) / (tokens - 1));
  const count = `${counted(ended.length, 'recent request')}${failed > 0 ? `, ${failed} failed` : ''}.`;
  return [count, spreadText('First token', first), spreadText('Each further token', next)]
    .filter(Boolean)
    .join(' ');
}

/** @param {string} name @param {readonly number[]} valuesMs */
function spreadText(name, valuesMs) {
  if (valuesMs.length === 0) return '';
  const sorted = valuesMs.toSorted((a, b) => a - b);
  const [median = 0, p95 = 0] = [0.5, 0.95].map((q) => sorted[Math.ceil(q * sorted.length) - 1]);
  return `${name}: median ${duration(median / 1000)}, p95 ${duration(p95 / 1000)}.`;
}

/**
 * Returns the latencies and errors of each half hour, the newest first.
 * @param {import('../contracts/management-api.ts').MetricsHistory['hours']} hours totals, oldest first
 * @param {MetricsStatus} now
 * @param {number} nowS Unix seconds
 */
export function halfHours(hours, now, nowS) {
  const points = [...hours, { at: nowS, ...now }];
  const spans = points.slice(1).map((after, i) => {
    const before = /** @type {typeof after} */ (points[i]);
    return {
      from: before.at,
      first: latencyBetween('time_to_first_token', before, after),
      next: latencyBetween('inter_token_latency', before, after),
      errors: total(after.errors) - total(before.errors),
    };
  });
  return spans.reverse();
}

/** @param {MetricsStatus['errors']} errors */
function total(errors) {
  return errors.reduce((sum, { count }) => sum + count, 0);
}

/** The time span of the chart. */
const SPAN_S = 3_600;

/**
 * Returns the rates between two readings; undefined if one has no totals or the engine has restarted.
 * @param {TokenReading | undefined} before
 * @param {TokenReading | undefined} after
 * @returns {TokenRates | undefined}
 */
export function ratesBetween(before, after) {
  if (before?.prompt_tokens == null || before.generated_tokens == null) return undefined;
  if (after?.prompt_tokens == null || after.generated_tokens == null) return undefined;
  const seconds = after.at - before.at;
  const generated = after.generated_tokens - before.generated_tokens;
  const prompt = after.prompt_tokens - before.prompt_tokens;
  if (seconds <= 0 || generated < 0 || prompt < 0) return undefined;
  return { generated: generated / seconds, prompt: prompt / seconds };
}

/**
 * Returns the points of the token chart: the server's history, then the page's own readings, both oldest first. There is
 * a gap for the time without an engine.
 * @param {readonly TokenReading[]} history
 * @param {readonly TokenReading[]} readings
 * @param {number} now Unix seconds
 * @returns {import('./chart.js').Points}
 */
export function ratePoints(history, readings, now) {
  const first = readings[0]?.at ?? Number.POSITIVE_INFINITY;
  const all = [...history.filter(({ at }) => at < first), ...readings].filter(
    ({ at }) => at > now - SPAN_S,
  );
  const rates = all.map((reading, i) => ratesBetween(all[i - 1], reading));
  return [
    all.map(({ at }) => at),
    rates.map((rate) => rate?.generated ?? null),
    rates.map((rate) => rate?.prompt ?? null),
  ];
}

/**
 * Returns the median and the 95th percentile of a latency between two readings as text; undefined if nothing was counted.
 * @param {'time_to_first_token' | 'inter_token_latency'} name
 * @param {Pick<MetricsStatus, 'time_to_first_token' | 'inter_token_latency'> | undefined} before absent for everything since the start
 * @param {Pick<MetricsStatus, 'time_to_first_token' | 'inter_token_latency'>} after
 */
export function latencyBetween(name, before, after) {
  const earlier = before?.[name] ?? [];
  const buckets = after[name].map(({ le, count }, i) => ({
    bound: le ?? Number.POSITIVE_INFINITY,
    count: count - (earlier[i]?.count ?? 0),
  }));
  if ((buckets.at(-1)?.count ?? 0) <= 0) return undefined;
  return { median: quantileOf(buckets, 0.5), p95: quantileOf(buckets, 0.95) };
}

/**
 * Estimates a quantile as Prometheus does: values are spread evenly in a bucket. Of the last bucket only the lower bound is
 * known.
 * @param {readonly { bound: number, count: number }[]} buckets cumulative, and not empty
 * @param {number} quantile
 * @returns {string}
 */
function quantileOf(buckets, quantile) {
  const rank = quantile * (buckets.at(-1)?.count ?? 0);
  const i = buckets.findIndex(({ count }) => count >= rank);
  const { bound = 0, count = 0 } = buckets[i] ?? {};
  const below = buckets[i - 1] ?? { bound: 0, count: 0 };
  if (bound === Number.POSITIVE_INFINITY) return `> ${duration(below.bound)}`;
  const share = count === below.count ? 1 : (rank - below.count) / (count - below.count);
  return duration(below.bound + (bound - below.bound) * share);
}
