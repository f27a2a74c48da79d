// What the HTTP side tells telemetry, and what it reads from it: the front of metrics and traces. Counting is cheap and
// always on; traces only where a `Tracing` is given. Knows no HTTP framework and no engine.
import type { StartPhases } from '../common/start-phases.ts';
import { VERSION } from '../common/version.ts';
import {
  AdapterNames,
  type DiskFigures,
  EngineMetrics,
  type EngineReading,
  setDisk,
} from './engine-figures.ts';
import { Exchange } from './exchange.ts';
import { GEN_AI } from './gen-ai.ts';
import type { LabelsOf } from './instruments.ts';
import { JobTrace, type TracedRun } from './job-trace.ts';
import { Metrics } from './metrics.ts';
import { watchProcess } from './process-figures.ts';
import { writePrometheusText } from './prometheus-text.ts';
import { RequestObserver } from './request-observer.ts';
import { RequestTrace, type TracedRequest } from './request-trace.ts';
import { OTHER, TopLabels } from './top-labels.ts';
import type { SpanAttributes, Tracing } from './tracing.ts';

/** Tenants, and adapters, that are shown by name; each has some 150 series (gen_ai's histograms). */
const MAX_SHOWN = 32;
/** Between owner and name in a key: in neither. */
const SEPARATOR = '/';

export interface TelemetryOptions {
  /** The base's name. */
  readonly id: string;
  readonly baseDigest: string;
  readonly maxSeqLength: number;
  readonly tracing?: Tracing;
  readonly maxShown?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Unix milliseconds. */
  readonly unixNow?: () => number;
}

/** Everything of a request to generate that metrics and traces show. */
export interface GenerationFacts extends TracedRequest {
  /** Absent: the base. */
  readonly adapter?: ShownAdapter;
}

export interface ShownAdapter {
  /** By which the engine knows it. */
  readonly key: string;
  readonly owner: string;
  /** Without version and alias. */
  readonly name: string;
}

export interface ArrivedRequest {
  readonly name: string;
  readonly attributes: SpanAttributes;
  header(name: string): string | undefined;
}

export class Telemetry {
  readonly metrics = new Metrics();
  readonly #options: TelemetryOptions;
  readonly #now: () => number;
  readonly #unixNow: () => number;
  readonly #names = new AdapterNames();
  readonly #tenants: TopLabels;
  /** Keys are owner and name. */
  readonly #adapters: TopLabels;

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

  /** An HTTP request came; `traced`: what its span is to say, absent for none. */
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

  /** Adds the request's events to metrics and trace; holds the exchange until its end. */
  observe(exchange: Exchange, facts: GenerationFacts): RequestObserver {
    const { adapter } = facts;
    if (adapter) this.#names.remember(adapter.key, facts.requestModel);
    const { span, startMs } = exchange;
    exchange.nameSpan(`${facts.operation} ${facts.requestModel}`);
    exchange.hold();
    return new RequestObserver({
      metrics: this.metrics,
      facts,
      modelName: this.#options.id,
      toLabels: () => this.#labels(facts),
      trace: span && new RequestTrace(span, facts, startMs),
      startMs,
      now: this.#now,
      onEnd: () => exchange.release(),
    });
  }

  /** Undefined where nobody collects traces. */
  observeRun(run: TracedRun): JobTrace | undefined {
    const { tracing } = this.#options;
    return tracing && new JobTrace(tracing, run);
  }

  countResponse(labels: LabelsOf<'httpResponses'>): void {
    this.metrics.add('httpResponses', labels);
  }

  /** `read` is asked whenever metrics are. */
  watchEngine(read: () => Promise<EngineReading>): void {
    const nowS = () => this.#unixNow() / 1000;
    const engine = new EngineMetrics(this.metrics, this.#options, this.#names, nowS());
    this.metrics.onCollect(async () => engine.set(await read(), nowS()));
  }

  /** The phases of both processes' starts, once the engine is ready. */
  started(phases: { server: StartPhases; engine: StartPhases | undefined }): void {
    for (const [process, ofProcess] of Object.entries(phases)) {
      for (const [phase, ms] of Object.entries(ofProcess ?? {})) {
        this.metrics.set('startPhase', { process, phase }, ms / 1000);
      }
    }
  }

  watchDisk(read: () => DiskFigures): void {
    this.metrics.onCollect(() => setDisk(this.metrics, read()));
  }

  /** For Prometheus. */
  async text(): Promise<string> {
    return writePrometheusText(await this.metrics.snapshot());
  }

  #labels({ tenant, adapter }: GenerationFacts) {
    const labels = { tenant: this.#tenants.use(tenant) };
    if (!adapter) return { ...labels, adapter: undefined, requestModel: this.#options.id };
    const { owner, name } = adapter;
    const isShown = this.#adapters.use(`${owner}${SEPARATOR}${name}`) !== OTHER;
    const shown = isShown ? { tenant: owner, adapter: name } : { tenant: OTHER, adapter: OTHER };
    return { ...labels, adapter: shown, requestModel: shown.adapter };
  }

  #dropAdapter(key: string): void {
    const [tenant, adapter] = key.split(SEPARATOR) as [string, string];
    this.metrics.drop({ tenant, adapter });
    this.metrics.drop({ [GEN_AI.requestModel]: adapter });
  }
}
