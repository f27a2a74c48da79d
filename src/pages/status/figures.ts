// The figures of the status page, from /metrics/status, or from /health without an admin key, and their rates over time.
import type {
  EngineFigures,
  MetricsHistory,
  MetricsStatus,
  RequestList,
  Tiers,
} from '../../contracts/management-api.ts';
import type { Points } from '../components/points.ts';
import { counted, duration } from '../format.ts';

/** The figures that every key may see. */
export interface PublicStatus {
  readonly is_ready: boolean;
  readonly engine: EngineFigures | null;
  readonly tiers: Tiers;
}
/** The figures at one moment. */
export type ServerStatus = MetricsStatus | PublicStatus;

/** How many cores each process uses; undefined if that is unknown. */
export interface CpuUse {
  readonly server: number | undefined;
  readonly engine: number | undefined;
  readonly trainer: number | undefined;
  /** All other processes of the machine. */
  readonly others: number | undefined;
}

/** The engine's load, and the use of the CPU if it is known. */
interface Load {
  readonly engine: PublicStatus['engine'];
  readonly cpu?: CpuUse | undefined;
  readonly cores?: number | undefined;
}

/** Token totals at one moment; null if the engine was not running. */
export type TokenReading = Pick<
  MetricsHistory['samples'][number],
  'at' | 'prompt_tokens' | 'generated_tokens'
>;
/** Figures that the page has read. */
export type Reading = TokenReading & { readonly status: ServerStatus };
type Latencies = Pick<MetricsStatus, 'time_to_first_token' | 'inter_token_latency'>;

/** Whether the figures are those for operators. */
export function isFull(status: ServerStatus): status is MetricsStatus {
  return 'server' in status;
}

/** The body of /health. */
export type Health = { readonly status: string } & Pick<PublicStatus, 'engine'> &
  Partial<Pick<PublicStatus, 'tiers'>>;

/** Returns the figures in the body of /health. */
export function statusOfHealth({ status, engine, tiers = [] }: Health): PublicStatus {
  return { is_ready: status === 'ready', engine, tiers };
}

/** Returns what the server does with adapters, one sentence each. */
export function adapterFacts({
  attached,
  awaited,
  fetching,
  is_store_paused: isPaused,
}: Pick<MetricsStatus, 'attached' | 'awaited' | 'fetching' | 'is_store_paused'>): string[] {
  // Requests also wait for adapters in slots: for a free KV slot.
  const loading = awaited.filter((name) => !attached.includes(name));
  return [
    attached.length > 0 && `Attached: ${attached.join(', ')}.`,
    loading.length > 0 && `Waiting to load: ${loading.join(', ')}.`,
    fetching > 0 && `Downloading ${counted(fetching, 'adapter')} from the store.`,
    isPaused && 'The store does not answer. The server keeps trying.',
  ].filter((fact) => fact !== false);
}

/** Returns how many cores each process used between two readings; undefined if there are not two. */
export function cpuBetween(
  before: Pick<Reading, 'at' | 'status'> | undefined,
  after: Pick<Reading, 'at' | 'status'> | undefined,
): CpuUse | undefined {
  if (!before || !after || !isFull(before.status) || !isFull(after.status)) return undefined;
  const seconds = after.at - before.at;
  const [a, b] = [before.status, after.status];
  /** A process that ended or started between the readings has no rate. */
  const rate = (from: number | null | undefined, to: number | null | undefined) =>
    from == null || to == null || to < from ? undefined : (to - from) / seconds;
  const own = {
    server: rate(a.server.cpu_s, b.server.cpu_s),
    engine: rate(a.engine?.cpu_s, b.engine?.cpu_s),
    trainer: rate(a.trainer_cpu_s, b.trainer_cpu_s),
  };
  const all = rate(a.machine_cpu_s, b.machine_cpu_s);
  const others = all === undefined ? undefined : Math.max(0, all - total(Object.values(own)));
  return { ...own, others };
}

function total(values: readonly (number | undefined)[]): number {
  return values.reduce<number>((sum, one) => sum + (one ?? 0), 0);
}

/** Returns why requests are slow now, one sentence each; at least one. */
export function reasonsOf(
  { data, is_training: isTraining }: Pick<RequestList, 'data' | 'is_training'>,
  { engine, cpu, cores }: Load,
): string[] {
  const ofRequests = (text: string, test: (request: RequestList['data'][number]) => boolean) => {
    const matches = data.filter(test).length;
    return matches > 0 && `${counted(matches, 'request')}: ${text}`;
  };
  const full = engine && engine.running >= engine.slots && engine.waiting > 0;
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
    cpuReason(isTraining, cpu, cores),
  ].filter((reason) => typeof reason === 'string');
  return reasons.length > 0 ? reasons : ['Nothing waits, and the CPU has time left.'];
}

/** Less than this slows nothing down. */
const NOTABLE_CORES = 0.1;

/** Names what takes the CPU, the largest part first; undefined if it is not busy. */
function cpuReason(
  isTraining: boolean,
  cpu: CpuUse | undefined,
  cores: number | undefined,
): string | undefined {
  if (!cpu || cores === undefined)
    return isTraining ? 'A fine-tuning job runs on the same cores.' : undefined;
  if (total(Object.values(cpu)) < 0.9 * cores) return undefined;
  const parts = [
    { who: 'the engine', use: cpu.engine ?? 0 },
    { who: 'the server', use: cpu.server ?? 0 },
    { who: 'fine-tuning', use: cpu.trainer ?? 0 },
    { who: 'other programs', use: cpu.others ?? 0 },
  ]
    .filter(({ use }) => use >= NOTABLE_CORES)
    .sort((a, b) => b.use - a.use)
    .map(({ who, use }) => `${who} ${use.toFixed(1)}`);
  return `The CPU is busy: ${parts.join(', ')} of ${counted(cores, 'core')}.`;
}

/** Sums up the requests that have ended lately, for users without the server's own figures; empty if there are none. */
export function recentText(requests: RequestList['data']): string {
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

function spreadText(name: string, valuesMs: readonly number[]): string {
  if (valuesMs.length === 0) return '';
  const sorted = valuesMs.toSorted((a, b) => a - b);
  const [median = 0, p95 = 0] = [0.5, 0.95].map((q) => sorted[Math.ceil(q * sorted.length) - 1]);
  return `${name}: median ${duration(median / 1000)}, p95 ${duration(p95 / 1000)}.`;
}

/** Returns the latencies and errors of each half hour, the newest first. `hours` are totals, oldest first. */
export function halfHours(hours: MetricsHistory['hours'], now: MetricsStatus, nowS: number) {
  const points = [...hours, { at: nowS, ...now }];
  const spans = points.slice(1).map((after, i) => {
    const before = points[i]!;
    return {
      from: before.at,
      first: latencyBetween('time_to_first_token', before, after),
      next: latencyBetween('inter_token_latency', before, after),
      errors: countOf(after.errors) - countOf(before.errors),
    };
  });
  return spans.reverse();
}

function countOf(errors: MetricsStatus['errors']): number {
  return errors.reduce((sum, { count }) => sum + count, 0);
}

/** The time span of the chart. */
const SPAN_S = 3_600;

/** Returns the tokens per second between two readings; undefined if one has no totals or the engine has restarted. */
export function ratesBetween(
  before: TokenReading | undefined,
  after: TokenReading | undefined,
): { generated: number; prompt: number } | undefined {
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
 */
export function ratePoints(
  history: readonly TokenReading[],
  readings: readonly TokenReading[],
  nowS: number,
): Points {
  const first = readings[0]?.at ?? Number.POSITIVE_INFINITY;
  const all = [...history.filter(({ at }) => at < first), ...readings].filter(
    ({ at }) => at > nowS - SPAN_S,
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
 * Without the earlier one it counts from the start.
 */
export function latencyBetween(
  name: keyof Latencies,
  before: Latencies | undefined,
  after: Latencies,
): { median: string; p95: string } | undefined {
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
 */
function quantileOf(
  buckets: readonly { readonly bound: number; readonly count: number }[],
  quantile: number,
): string {
  const rank = quantile * (buckets.at(-1)?.count ?? 0);
  const i = buckets.findIndex(({ count }) => count >= rank);
  const { bound = 0, count = 0 } = buckets[i] ?? {};
  const below = buckets[i - 1] ?? { bound: 0, count: 0 };
  if (bound === Number.POSITIVE_INFINITY) return `> ${duration(below.bound)}`;
  const share = count === below.count ? 1 : (rank - below.count) / (count - below.count);
  return duration(below.bound + (bound - below.bound) * share);
}
