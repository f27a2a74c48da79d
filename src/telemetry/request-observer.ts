// What one request to generate means for metrics and its trace, from the events that the HTTP side sees of its
// sequences. Knows token counts and times; no text, no tokens, no tensors.
import { ServeError } from '../common/errors.ts';
import { GEN_AI, type GenAiOperation, PROVIDER } from './gen-ai.ts';
import type { Metrics } from './metrics.ts';
import type { RequestTrace } from './request-trace.ts';

/** What is known when the engine is asked. */
export interface RequestFacts {
  readonly operation: GenAiOperation;
  readonly tenant: string;
  /** Sequences of one prompt share its tokens. */
  readonly promptTokens: number;
}

/** How the request is shown in labels. */
export interface RequestLabels {
  readonly tenant: string;
  /** Absent: the base. */
  readonly adapter: { readonly tenant: string; readonly adapter: string } | undefined;
  /** `gen_ai.request.model`. */
  readonly requestModel: string;
}

export interface Receipt {
  readonly tier?: string;
  readonly loadMs?: number;
}

/** The events of a request's sequences, by the index of their choice; then one of completed, failed or abandoned. */
export interface GenerationObserver {
  /** Runs what an event leads to, so that its log lines carry the request's trace. */
  within(act: () => void): void;
  submitted(index: number): void;
  accepted(index: number, receipt: Receipt): void;
  /** Its prefill begins. */
  admitted(index: number): void;
  token(index: number): void;
  finished(index: number, reason: string): void;
  completed(): void;
  failed(error: unknown): void;
  /** The client left. */
  abandoned(): void;
}

/** Monotonic milliseconds at which a sequence reached what it reached. */
interface Progress {
  readonly submittedMs: number;
  acceptedMs?: number;
  receipt?: Receipt;
  admittedMs?: number;
  firstTokenMs?: number;
  lastTokenMs?: number;
  tokens: number;
}

export interface RequestObserverOptions {
  readonly metrics: Metrics;
  readonly facts: RequestFacts;
  readonly modelName: string;
  /** Asked once, at the end: what is shown by name may have changed since the begin. */
  toLabels(): RequestLabels;
  readonly trace: RequestTrace | undefined;
  /** When the request came. */
  readonly startMs: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Runs `act` so that its log lines carry the request's trace. */
  within(act: () => void): void;
  /** Once. */
  onEnd(): void;
}

export class RequestObserver implements GenerationObserver {
  readonly #options: RequestObserverOptions;
  readonly #live = new Map<number, Progress>();
  #acquireMs = 0;
  #firstTokenMs: number | undefined;
  #tokens = 0;
  readonly #finishReasons: string[] = [];

  constructor(options: RequestObserverOptions) {
    this.#options = options;
  }

  /** Awaits the files of the request's adapter; where they can't be had, the request has failed. */
  async acquire<L extends { readonly tier: string }>(
    load: () => Promise<L>,
    signal: AbortSignal,
  ): Promise<L> {
    const { now, trace } = this.#options;
    const startMs = now();
    try {
      const lease = await load();
      const endMs = now();
      this.#acquireMs = endMs - startMs;
      trace?.adapterAcquired(lease.tier, startMs, endMs);
      return lease;
    } catch (error) {
      if (signal.aborted) this.abandoned();
      else this.failed(error);
      throw error;
    }
  }

  within(act: () => void): void {
    this.#options.within(act);
  }

  submitted(index: number): void {
    this.#live.set(index, { submittedMs: this.#options.now(), tokens: 0 });
  }

  accepted(index: number, receipt: Receipt): void {
    const progress = this.#live.get(index);
    if (!progress) return;
    progress.acceptedMs = this.#options.now();
    progress.receipt = receipt;
    const { tier } = receipt;
    if (tier === undefined) return;
    const loadMs = this.#acquireMs + progress.acceptedMs - progress.submittedMs;
    this.#options.metrics.observe('loadDuration', { tier }, loadMs / 1000);
  }

  admitted(index: number): void {
    const progress = this.#live.get(index);
    if (progress) progress.admittedMs = this.#options.now();
  }

  token(index: number): void {
    const progress = this.#live.get(index);
    if (!progress) return;
    const nowMs = this.#options.now();
    const { metrics, startMs } = this.#options;
    const model = this.#model;
    if (progress.lastTokenMs === undefined) {
      progress.firstTokenMs = nowMs;
      this.#firstTokenMs ??= nowMs;
      metrics.observe('timeToFirstToken', model, (nowMs - startMs) / 1000);
    } else {
      metrics.observe('timePerOutputToken', model, (nowMs - progress.lastTokenMs) / 1000);
    }
    progress.lastTokenMs = nowMs;
    progress.tokens++;
    this.#tokens++;
  }

  finished(index: number, reason: string): void {
    const progress = this.#live.get(index);
    if (!progress) return;
    const { metrics, startMs, now } = this.#options;
    const model = this.#model;
    const endMs = now();
    this.#finishReasons.push(reason);
    metrics.add('requestSuccess', { ...model, finished_reason: reason });
    metrics.observe('requestLatency', model, (endMs - startMs) / 1000);
    const { admittedMs, firstTokenMs = endMs } = progress;
    if (admittedMs !== undefined) {
      metrics.observe('queueTime', model, (admittedMs - startMs) / 1000);
      metrics.observe('prefillTime', model, (firstTokenMs - admittedMs) / 1000);
      metrics.observe('decodeTime', model, (endMs - firstTokenMs) / 1000);
      metrics.observe('inferenceTime', model, (endMs - admittedMs) / 1000);
    }
    this.#close(index, progress, endMs);
  }

  completed(): void {
    const { metrics, facts, startMs, now } = this.#options;
    const shown = this.#options.toLabels();
    const labels = this.#genAi(shown);
    const endMs = now();
    const tokens = this.#tokens;
    if (this.#firstTokenMs !== undefined) {
      metrics.observe('genAiFirstToken', labels, (this.#firstTokenMs - startMs) / 1000);
      if (tokens > 1) {
        const perToken = (endMs - this.#firstTokenMs) / (tokens - 1);
        metrics.observe('genAiPerToken', labels, perToken / 1000);
      }
    }
    const type = GEN_AI.tokenType;
    metrics.observe('genAiTokens', { ...labels, [type]: 'input' }, facts.promptTokens);
    metrics.observe('genAiTokens', { ...labels, [type]: 'output' }, tokens);
    this.#end('ok', endMs, shown);
  }

  failed(error: unknown): void {
    const code = error instanceof ServeError ? error.code : 'internal_error';
    this.#end(code, this.#options.now());
  }

  abandoned(): void {
    const { metrics } = this.#options;
    for (const _ of this.#live) {
      metrics.add('requestSuccess', { ...this.#model, finished_reason: 'abort' });
    }
    this.#end('aborted', this.#options.now());
  }

  #end(outcome: string, endMs: number, shown = this.#options.toLabels()): void {
    const { metrics, facts, trace, startMs } = this.#options;
    for (const [index, progress] of this.#live) this.#close(index, progress, endMs);
    const error = { [GEN_AI.errorType]: outcome === 'ok' ? '' : outcome };
    metrics.observe('genAiDuration', { ...this.#genAi(shown), ...error }, (endMs - startMs) / 1000);
    const { tenant, adapter } = shown;
    metrics.add('tenantRequests', { tenant, outcome });
    metrics.add('tenantTokens', { tenant, type: 'input' }, facts.promptTokens);
    metrics.add('tenantTokens', { tenant, type: 'output' }, this.#tokens);
    if (adapter) {
      metrics.add('adapterRequests', { ...adapter, outcome });
      metrics.add('adapterTokens', { ...adapter, type: 'input' }, facts.promptTokens);
      metrics.add('adapterTokens', { ...adapter, type: 'output' }, this.#tokens);
    }
    trace?.end({
      outcome,
      outputTokens: this.#tokens,
      finishReasons: this.#finishReasons,
      firstTokenMs: this.#firstTokenMs,
    });
    this.#options.onEnd();
  }

  /** The sequence has ended: what it did is in the trace. */
  #close(index: number, progress: Progress, endMs: number): void {
    this.#live.delete(index);
    this.#options.trace?.sequence(index, progress, endMs);
  }

  get #model() {
    return { model_name: this.#options.modelName };
  }

  #genAi({ requestModel }: RequestLabels) {
    return {
      [GEN_AI.operation]: this.#options.facts.operation,
      [GEN_AI.provider]: PROVIDER,
      [GEN_AI.requestModel]: requestModel,
    };
  }
}
