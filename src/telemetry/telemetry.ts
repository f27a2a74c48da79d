// The interface of metrics and traces for HTTP and jobs. Metrics are cheap and always on. Traces exist only if a `Tracing` is
// given.
import { LRUCache } from 'lru-cache';
import type { StartPhases } from '../common/start-phases.ts';
import { VERSION } from '../common/version.ts';
import type { DiskTierStats, EngineInfo } from '../contracts/engine.ts';
import { type ArrivedRequest, Exchange } from './exchange.ts';
import {
  AdapterNames,
  createEngineMetrics,
  type EngineReading,
  setDisk,
  watchProcess,
} from './figures.ts';
import { GEN_AI } from './gen-ai.ts';
import { type LabelsOf, ROUTER_METRICS } from './instruments.ts';
import { JobTrace, type TracedRun } from './job-trace.ts';
import { Metrics } from './metrics.ts';
import { writePrometheusText } from './prometheus-text.ts';
import { RequestLog } from './request-log.ts';
import { RequestObserver } from './request-observer.ts';
import { RequestTrace, type TracedRequest } from './request-trace.ts';
import { OTHER, TopLabels } from './top-labels.ts';
import type { Tracing } from './tracing.ts';
import { VersionTrafficLog } from './version-traffic.ts';

/** The most tenants, and the most adapters, to show by name. Each has about 150 series. */
const MAX_SHOWN = 32;
/** Separates owner and name in a key. Neither can contain it. */
const SEPARATOR = '/';

/** The base that metrics describe, and clocks. */
interface TelemetryOptions {
  /** The base's name. */
  readonly id: string;
  readonly baseDigest: string;
  readonly tracing?: Tracing;
  readonly maxShown?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Unix milliseconds. */
  readonly unixNow?: () => number;
}

/** The facts about a generation that metrics and traces show. */
export interface GenerationFacts extends TracedRequest {
  /** Its `x-request-id`. */
  readonly requestId: string;
  /** Whether nobody waits for it. */
  readonly isIdle?: true | undefined;
  /** Absent for the base. */
  readonly adapter?: ShownAdapter;
}

/** Adapters whose last use is remembered, 200 bytes each. */
const MAX_LAST_USES = 10_000;

/** An adapter, as metrics show it. */
export interface ShownAdapter {
  /** The engine's key. */
  readonly key: string;
  readonly owner: string;
  /** Without version or alias. */
  readonly name: string;
  /** Absent for a local folder and for a composition. */
  readonly version?: number | undefined;
}

/** Counts and traces what this server does. */
export class Telemetry {
  readonly metrics = new Metrics();
  readonly requests = new RequestLog();
  readonly traffic = new VersionTrafficLog();
  readonly #options: TelemetryOptions;
  readonly #now: () => number;
  readonly #unixNow: () => number;
  readonly #names = new AdapterNames();
  #readEngine = async () => {};
  readonly #tenants: TopLabels;
  /** The keys combine owner and name. */
  readonly #adapters: TopLabels;
  readonly #lastUses = new LRUCache<string, number>({ max: MAX_LAST_USES });

  constructor(options: TelemetryOptions) {
    const { metrics } = this;
    const { id: modelName, baseDigest, maxShown: places = MAX_SHOWN } = options;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#unixNow = options.unixNow ?? Date.now;
    this.#tenants = new TopLabels({ places, onDrop: (tenant) => metrics.drop({ tenant }) });
    this.#adapters = new TopLabels({ places, onDrop: (key) => this.#dropAdapter(key) });
    const build = { version: VERSION, node: process.version, base_digest: baseDigest };
    metrics.set('build', { ...build, model_name: modelName }, 1);
    watchProcess(metrics);
  }

  /** Begins an HTTP request. Without `traced` it has no span. */
  begin(traced: ArrivedRequest | undefined): Exchange {
    const { tracing } = this.#options;
    const span =
      traced && tracing?.begin(traced.name, traced.attributes, (name) => traced.header(name));
    return new Exchange(this.#now(), span);
  }

  /** Runs `act` so that its log lines carry the request's trace. */
  within<T>({ span }: Exchange, act: () => T): T {
    const { tracing } = this.#options;
    return span && tracing ? tracing.within(span, act) : act();
  }

  /**
   * Returns an observer that adds a generation to metrics and trace. The observer holds the exchange until the generation ends.
   */
  observe(exchange: Exchange, facts: GenerationFacts): RequestObserver {
    const { adapter, tenant, requestId, promptTokens, requestModel } = facts;
    if (adapter) {
      this.#names.remember(adapter.key, requestModel);
      this.#lastUses.set(`${adapter.owner}${SEPARATOR}${adapter.name}`, this.#unixNow());
    }
    const { span, startMs } = exchange;
    exchange.nameSpan(`${facts.operation} ${facts.requestModel}`);
    exchange.hold();
    const record = this.requests.begin({
      id: requestId,
      tenant,
      model: requestModel,
      hasAdapter: adapter !== undefined,
      isIdle: facts.isIdle ?? false,
      promptTokens,
      startMs,
    });
    const traffic = this.traffic.begin(adapter);
    return new RequestObserver({
      metrics: facts.isIdle ? this.#countsOnly : this.metrics,
      facts,
      modelName: this.#options.id,
      toLabels: () => this.#labels(facts),
      trace: span && new RequestTrace(span, facts, startMs),
      record,
      now: this.#now,
      onEnd: (end) => {
        this.requests.end(record, end);
        traffic?.end(record, end);
        exchange.release();
      },
    });
  }

  /** Returns when the newest request with an adapter began, in Unix milliseconds; undefined if none is remembered. */
  lastUseOf(owner: string, name: string): number | undefined {
    return this.#lastUses.peek(`${owner}${SEPARATOR}${name}`);
  }

  /** For idle sequences: nobody waits for them, so their times would only distort the histograms. */
  get #countsOnly(): Pick<Metrics, 'add' | 'observe'> {
    return { add: this.metrics.add.bind(this.metrics), observe() {} };
  }

  /** Starts the trace of a training run. Undefined if traces are not collected. */
  observeRun(run: TracedRun): JobTrace | undefined {
    const { tracing } = this.#options;
    return tracing && new JobTrace(tracing, run);
  }

  /** Monotonic milliseconds, as in the records of requests. */
  get nowMs(): number {
    return this.#now();
  }

  /** Counts an HTTP response. */
  countResponse(labels: LabelsOf<'httpResponses'>): void {
    this.metrics.add('httpResponses', labels);
  }

  /** Returns the last name in requests of an adapter's key, or the key, which no request names. */
  nameOf(key: string): string {
    return this.#names.of([key], 1) || key;
  }

  /** Calls `read` for the engine's figures when metrics are read. */
  watchEngine(read: () => Promise<EngineReading>): void {
    const nowS = () => this.#unixNow() / 1000;
    const set = createEngineMetrics(this.metrics, this.#options.id, this.#names, nowS);
    this.#readEngine = async () => set(await read());
    this.metrics.onCollect(this.#readEngine);
  }

  /** Sets the durations of the startup phases in both processes, and how the engine computes. */
  started(
    phases: { server: StartPhases; engine: StartPhases | undefined },
    engine: EngineInfo,
  ): void {
    const { provider, weights, kv, int8Operator } = engine;
    const labels = { provider, weights, kv, int8_operator: int8Operator ?? 'none' };
    this.metrics.set('engine', labels, 1);
    for (const [process, ofProcess] of Object.entries(phases)) {
      for (const [phase, ms] of Object.entries(ofProcess ?? {})) {
        this.metrics.set('startPhase', { process, phase }, ms / 1000);
      }
    }
  }

  /** Calls `read` for the disk tier's figures when metrics are read. */
  watchDisk(read: () => DiskTierStats): void {
    this.metrics.onCollect(() => setDisk(this.metrics, read()));
  }

  /** Returns all metrics as text for Prometheus. */
  async text(): Promise<string> {
    return writePrometheusText(await this.metrics.snapshot());
  }

  /** Returns the metrics for routers as text, at most 20 kB. Resets nothing that is measured from one scrape to the next. */
  async routerText(): Promise<string> {
    await this.#readEngine();
    return writePrometheusText(this.metrics.families(ROUTER_METRICS));
  }

  #labels({ tenant, adapter }: GenerationFacts) {
    const labels = { tenant: this.#tenants.use(tenant) };
    if (!adapter) return { ...labels, adapter: undefined, requestModel: this.#options.id };
    const { owner, name } = adapter;
    const isShown = this.#adapters.use(`${owner}${SEPARATOR}${name}`) !== OTHER;
    const adapterLabels = isShown
      ? { tenant: owner, adapter: name }
      : { tenant: OTHER, adapter: OTHER };
    return { ...labels, adapter: adapterLabels, requestModel: adapterLabels.adapter };
  }

  #dropAdapter(key: string): void {
    const [tenant, adapter] = key.split(SEPARATOR) as [string, string];
    this.metrics.drop({ tenant, adapter });
    this.metrics.drop({ [GEN_AI.requestModel]: adapter });
  }
}
