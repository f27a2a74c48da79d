// The interface of metrics and traces for HTTP and jobs. Metrics are cheap and always on. Traces exist only if a `Tracing` is
// given.
import { LRUCache } from 'lru-cache';
import type { StartPhases } from '../common/start-phases.ts';
import { VERSION } from '../common/version.ts';
import type { DiskTierStats, EngineInfo } from '../contracts/engine.ts';
import {
  AdapterNames,
  createEngineMetrics,
  type EngineReading,
  setDisk,
  watchProcess,
} from './figures.ts';
import { GEN_AI } from './gen-ai.ts';
import { type LabelsOf, ROUTER_METRICS } from './instruments.ts';
import { Metrics } from './metrics.ts';
import { writePrometheusText } from './prometheus-text.ts';
import { RequestLog } from './request-log.ts';
import { RequestObserver } from './request-observer.ts';
import { RequestTrace, type TracedRequest } from './request-trace.ts';
import type { SpanAttributes, TraceSpan, Tracing } from './tracing.ts';

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
}

/** An HTTP request, for its span. */
interface ArrivedRequest {
  readonly name: string;
  readonly attributes: SpanAttributes;
  header(name: string): string | undefined;
}

/**
 * One HTTP request, from its arrival to the end of its response. A stream continues after its handler has returned, so
 * everything that still works on it holds the exchange.
 */
export class Exchange {
  /** The arrival of the request, in monotonic milliseconds. */
  readonly startMs: number;
  readonly span: TraceSpan | undefined;
  #holders = 0;
  #isNamed = false;

  constructor(startMs: number, span: TraceSpan | undefined) {
    this.startMs = startMs;
    this.span = span;
  }

  /** Names the span. The first name stays, because the route's handler is more specific than the middleware. */
  nameSpan(name: string): void {
    if (!this.#isNamed) this.span?.setName(name);
    this.#isNamed = true;
  }

  /** Keeps the span open until `release`. */
  hold(): void {
    this.#holders++;
  }

  /** Ends the span if nobody else holds it. */
  release(): void {
    if (--this.#holders === 0) this.span?.end();
  }
}

/** Counts and traces what this server does. */
export class Telemetry {
  readonly metrics = new Metrics();
  readonly requests = new RequestLog();
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

/** The name of all values that are not shown. */
export const OTHER = 'other';

/** The number of other values to count for each shown one. */
const CANDIDATES_PER_PLACE = 8;
/** Counts are halved after this many uses per shown value, so values that are no longer used disappear. */
const USES_PER_PLACE = 256;
/**
 * A new value needs this many times the uses of the least used one. Otherwise two equally used values would keep replacing each
 * other.
 */
const LEAD = 2;

/** The number of shown values. */
interface TopLabelsOptions {
  /** The most values to show. */
  readonly places: number;
  /** Called when a value is no longer shown, because its series must be deleted. */
  onDrop(value: string): void;
}

/** The most used values of a label. */
export class TopLabels {
  readonly #options: TopLabelsOptions;
  readonly #top = new Map<string, number>();
  readonly #candidates: LRUCache<string, number>;
  #uses = 0;

  constructor(options: TopLabelsOptions) {
    this.#options = options;
    this.#candidates = new LRUCache({ max: options.places * CANDIDATES_PER_PLACE });
  }

  /** Counts a use of the value, and returns the label to show for it. */
  use(value: string): string {
    if (value === OTHER) return OTHER;
    if (++this.#uses >= this.#options.places * USES_PER_PLACE) this.#age();
    const count = this.#top.get(value);
    if (count !== undefined || this.#top.size < this.#options.places) {
      this.#top.set(value, (count ?? 0) + 1);
      return value;
    }
    const uses = (this.#candidates.get(value) ?? 0) + 1;
    const [last, least] = this.#least();
    if (uses < LEAD * (least + 1)) {
      this.#candidates.set(value, uses);
      return OTHER;
    }
    this.#top.delete(last);
    this.#options.onDrop(last);
    this.#candidates.delete(value);
    this.#top.set(value, uses);
    return value;
  }

  #least(): [value: string, uses: number] {
    let least: [string, number] = ['', Number.POSITIVE_INFINITY];
    for (const entry of this.#top) if (entry[1] < least[1]) least = entry;
    return least;
  }

  #age(): void {
    this.#uses = 0;
    for (const [value, count] of this.#top) this.#top.set(value, count / 2);
    for (const [value, count] of [...this.#candidates.entries()].reverse()) {
      this.#candidates.set(value, count / 2); // oldest first, to keep their order
    }
  }
}

// Traces a training run on this server: the job's span, with child spans for epochs and for other work, such as fetching files
// and publishing. Only names, counts and times reach a span.

/** A run of a job. */
interface TracedRun {
  readonly id: string;
  readonly tenant: string;
  /** The number of the job's lease. A run that continues on another server gets a separate trace. */
  readonly attempt: number;
}

/** The trace of one run. */
class JobTrace {
  readonly #tracing: Tracing;
  readonly #span: TraceSpan;
  /** An epoch that never ends is not exported. */
  #epoch: TraceSpan | undefined;
  #epochCount = 0;

  constructor(tracing: Tracing, { id, tenant, attempt }: TracedRun) {
    this.#tracing = tracing;
    this.#span = tracing.root('fine_tuning', {
      'lorikeet.job.id': id,
      'lorikeet.job.attempt': attempt,
      'lorikeet.tenant': tenant,
    });
  }

  /** Starts the first epoch. */
  trainingBegan(): void {
    this.#epoch = this.#span.startChild('epoch', { 'lorikeet.job.epoch': ++this.#epochCount });
  }

  /** Ends an epoch and starts the next. */
  epochEnded(step: number): void {
    this.#epoch?.setAttributes({ 'lorikeet.job.step': step });
    this.#epoch?.end();
    this.trainingBegan();
  }

  /** Runs `act` in a span. Its log lines carry the span's ids. */
  async during<T>(phase: string, act: () => Promise<T>): Promise<T> {
    const parent = phase === 'checkpoint' ? (this.#epoch ?? this.#span) : this.#span;
    const span = parent.startChild(phase, {});
    try {
      return await this.#tracing.within(span, act);
    } catch (error) {
      span.setFailed(error instanceof Error ? error.name : 'unknown');
      throw error;
    } finally {
      span.end();
    }
  }

  /** Ends the trace. */
  ended(status: string, error: string | undefined): void {
    this.#span.setAttributes({ 'lorikeet.job.status': status });
    if (error !== undefined) this.#span.setFailed(error);
    this.#span.end();
  }
}
