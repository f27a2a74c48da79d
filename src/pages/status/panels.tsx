// The figures of the status page: the load now, speed, latencies, the adapter cache, traffic, and the machine.
import type { MetricsStatus } from '../../contracts/management-api.ts';
import { LineChart } from '../components/line-chart.tsx';
import { Pairs } from '../components/pairs.tsx';
import { number, Panel, Table, Tile, type TileProps } from '../components/parts.tsx';
import { compact, count, counted, hourAndMinute, percent, size } from '../format.ts';
import {
  adapterFacts,
  type CpuUse,
  cpuBetween,
  halfHours,
  isFull,
  latencyBetween,
  type PublicStatus,
  type Reading,
  ratePoints,
  ratesBetween,
} from './figures.ts';
import type { StatusStore } from './store.ts';

interface Props {
  readonly store: StatusStore;
}

/** Above this number slots are a bar instead of a cell each. */
const MAX_CELLS = 64;
/** The time span of the latencies. In a shorter one a single slow request would dominate. */
const LATENCY_SPAN_S = 60;
/** The base and the ten busiest adapters. */
const MAX_MODELS = 11;
const TIER_NAMES = { slot: 'Slots', ram: 'Memory', disk: 'Disk' };

/** The figures of this moment. */
export function Tiles({ store }: Props) {
  const readings = store.readings.value;
  const { status } = readings.at(-1)!;
  const cores = store.history.value?.server.cores;
  const tiles = [
    ...(status.engine ? engineTiles(status.engine, readings) : []),
    ...(isFull(status) ? [cpuTile(cpuBetween(readings.at(-2), readings.at(-1)), cores)] : []),
    ...(isFull(status) ? latencyTiles(status, readings) : []),
  ];
  return (
    <section aria-labelledby="load-title">
      <h2 id="load-title" class="hidden">
        Load
      </h2>
      <dl class="tiles" id="tiles">
        {tiles.map((tile) => (
          <Tile key={tile.name} {...tile} />
        ))}
      </dl>
    </section>
  );
}

function engineTiles(
  engine: NonNullable<PublicStatus['engine']>,
  readings: readonly Reading[],
): TileProps[] {
  const { running, waiting, slots, prefix_query_tokens: queried } = engine;
  const { status } = readings.at(-1)!;
  const rates = ratesBetween(readings.at(-2), readings.at(-1));
  const hits = queried === 0 ? '–' : percent(engine.prefix_hit_tokens / queried);
  const prefix =
    engine.prefix_capacity_bytes === 0
      ? { value: 'off', help: '--prefix-cache turns it on' }
      : { value: hits, help: `of prompt tokens; ${size(engine.prefix_bytes)} in use` };
  const server = isFull(status) ? `; server ${size(status.server.memory_bytes)}` : '';
  const rate = (one: number | undefined) => (one === undefined ? '–' : compact(one));
  return [
    { name: 'Slots in use', value: `${running} of ${slots}`, children: slotCells(running, slots) },
    { name: 'Queue', value: count(waiting), help: 'waiting requests' },
    { name: 'Generation', value: rate(rates?.generated), help: 'tokens per second' },
    { name: 'Prefill', value: rate(rates?.prompt), help: 'prompt tokens per second' },
    { name: 'KV cache', value: percent(engine.kv_usage), help: 'in use' },
    { name: 'Prefix cache', ...prefix },
    { name: 'Memory', value: size(engine.memory_bytes), help: `engine${server}` },
  ];
}

function slotCells(running: number, slots: number) {
  if (slots > MAX_CELLS) {
    return (
      <dd>
        <meter max={slots} value={running} aria-label="Slots in use" />
      </dd>
    );
  }
  const cells = Array.from({ length: slots }, (_, i) => <i class={i < running ? 'full' : ''} />);
  return (
    <dd class="cells" aria-hidden="true">
      {cells}
    </dd>
  );
}

function cpuTile(use: CpuUse | undefined, cores: number | undefined): TileProps {
  const text = (one: number | undefined) => (one === undefined ? '–' : one.toFixed(1));
  const rest = [
    `server ${text(use?.server)}`,
    use?.trainer !== undefined && `trainer ${text(use.trainer)}`,
    use?.others !== undefined && `other programs ${text(use.others)}`,
  ].filter((part) => part !== false);
  const of = cores === undefined ? '' : ` of ${counted(cores, 'core')}`;
  return { name: 'CPU', value: text(use?.engine), help: `engine; ${rest.join(', ')}${of}` };
}

function latencyTiles(status: MetricsStatus, readings: readonly Reading[]): TileProps[] {
  const start = readings.at(-1)!.at - LATENCY_SPAN_S;
  const before = (readings.findLast(({ at }) => at < start) ?? readings[0]!).status;
  const since = before !== status && isFull(before) ? before : undefined;
  const latencies = [
    { name: 'Time to first token', times: latencyBetween('time_to_first_token', since, status) },
    { name: 'Inter-token latency', times: latencyBetween('inter_token_latency', since, status) },
  ];
  return latencies.map(({ name, times }) =>
    times
      ? { name, value: times.median, help: `median; p95 ${times.p95}` }
      : { name, value: '–', help: 'no requests in the last minute' },
  );
}

const RATE_CHART = {
  name: 'Tokens per second',
  isTime: true,
  startsAtZero: true,
  format: compact,
  lines: [
    { label: 'Generated', color: '--accent' },
    { label: 'Prompt', color: '--third', isDashed: true },
  ],
};

/** The rates of the last hour. */
export function RatePanel({ store }: Props) {
  const readings = store.readings.value;
  const points = ratePoints(store.history.value?.samples ?? [], readings, readings.at(-1)!.at);
  const [generated, prompt] = [points[1]?.at(-1), points[2]?.at(-1)];
  const summary =
    generated == null
      ? 'no figures yet'
      : `${compact(generated)} generated, ${compact(prompt ?? 0)} prompt`;
  return (
    <Panel id="rate" title="Tokens per second">
      <LineChart options={RATE_CHART} points={points} summary={summary} />
    </Panel>
  );
}

/** The machine and the settings of the server, for operators. */
export function ServerPanel({ store }: Props) {
  const server = store.history.value?.server;
  if (!server) return null;
  return (
    <Panel id="server" title="Server">
      <Pairs
        entries={[
          ['Base model', server.model],
          ['Provider', server.provider ?? 'starting'],
          ['Weights', server.weights ?? 'starting'],
          ['KV cache', server.kv ?? 'starting'],
          ['Threads', server.threads === null ? 'automatic' : count(server.threads)],
          ['CPU', `${server.processor}, ${counted(server.cores, 'core')}`],
          ['Instructions', server.processor_features?.join(', ') || 'unknown'],
          ['Memory', size(server.memory_bytes)],
          ['Platform', `${server.platform}, Node ${server.node}`],
          ['Version', server.version],
        ]}
      />
    </Panel>
  );
}

/** Latencies by half hour, and errors, for operators. */
export function LastHours({ store }: Props) {
  const { at, status } = store.readings.value.at(-1)!;
  if (!isFull(status)) return null;
  const hours = halfHours(store.history.value?.hours ?? [], status, at);
  const latencies = ['First token p50', 'p95', 'Next token p50', 'p95', 'Errors'].map(number);
  return (
    <Panel id="hours" title="The last hours">
      <Table
        caption="Latencies and errors by half hour"
        columns={['From', ...latencies]}
        rows={hours.map(({ from, first, next, errors }) => [
          hourAndMinute(from),
          ...[first?.median, first?.p95, next?.median, next?.p95].map((text) => text ?? '–'),
          count(errors),
        ])}
      />
      {status.errors.length > 0 && (
        <Table
          caption="Refused and failed requests since the server started"
          columns={['Error', number('Requests')]}
          rows={status.errors.map(({ code, count: n }) => [code.replaceAll('_', ' '), count(n)])}
        />
      )}
    </Panel>
  );
}

/** The adapter cache by tier. */
export function AdapterCache({ store }: Props) {
  const { status } = store.readings.value.at(-1)!;
  const counts = ['Adapters', 'Size', 'Hits', 'Misses', 'Evictions', 'Failures'].map(number);
  const optional = (n: number | undefined) => (n === undefined ? '' : count(n));
  return (
    <Panel id="tiers" title="Adapter cache">
      <Table
        caption="Adapter cache by tier"
        columns={['Tier', ...counts]}
        rows={status.tiers.map(({ tier, adapters, bytes, hits, misses, evictions, failed }) => [
          TIER_NAMES[tier],
          count(adapters),
          bytes === undefined ? '' : size(bytes),
          ...[hits, misses, evictions, failed].map(optional),
        ])}
      />
      <p class="help" id="attached">
        {isFull(status) && adapterFacts(status).join(' ')}
      </p>
    </Panel>
  );
}

/** Traffic by model, for operators. */
export function Traffic({ store }: Props) {
  const { status } = store.readings.value.at(-1)!;
  if (!isFull(status)) return null;
  const rows = status.usage
    .slice(0, MAX_MODELS)
    .map(({ model, tenant, requests, input_tokens, output_tokens }) => [
      tenant === null ? `${model} (base)` : model,
      tenant ?? 'all',
      ...[requests, input_tokens, output_tokens].map(count),
    ]);
  return (
    <Panel id="busiest" title="Traffic by model">
      <Table
        caption="Traffic by model since the server started"
        columns={[
          'Model',
          'Tenant',
          ...['Requests', 'Prompt tokens', 'Generated tokens'].map(number),
        ]}
        rows={rows}
      />
    </Panel>
  );
}
