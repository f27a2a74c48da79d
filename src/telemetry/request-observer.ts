// Turns the events of one generation into metrics and its trace. Only token counts and times arrive here, never text.

import { ServeError } from '../common/errors.ts';
import type { AdapterUse, GenerationEvent } from '../contracts/generation.ts';
import { GEN_AI, PROVIDER } from './gen-ai.ts';
import type { Metrics } from './metrics.ts';
import type { RequestRecord } from './request-log.ts';
import type { RequestTrace, SequenceTimes, TracedRequest } from './request-trace.ts';

/** The labels of a generation. */
interface RequestLabels {
  readonly tenant: string;
  /** Undefined for the base. */
  readonly adapter: { readonly tenant: string; readonly adapter: string } | undefined;
  /** `gen_ai.request.model`. */
  readonly requestModel: string;
}

type ObservedTimes = { -readonly [K in keyof SequenceTimes]: SequenceTimes[K] } & {
  lastTokenMs?: number;
};

/** The dependencies of an observer. */
interface RequestObserverOptions {
  readonly metrics: Pick<Metrics, 'add' | 'observe'>;
  readonly facts: Pick<TracedRequest, 'operation' | 'tenant' | 'promptTokens'>;
  readonly modelName: string;
  /** Called once, at the end, because the set of shown names may have changed since the start. */
  toLabels(): RequestLabels;
  readonly trace: RequestTrace | undefined;
  readonly record: RequestRecord;
  /** Returns monotonic milliseconds. */
  readonly now: () => number;
  /** Called once. */
  onEnd(end: NonNullable<RequestRecord['end']>): void;
}

/** Observes one generation: its events, then exactly one of `completed`, `failed` and `abandoned`. */
export class RequestObserver {
  readonly #options: RequestObserverOptions;
  readonly #live = new Map<number, ObservedTimes>();
  #acquireMs = 0;
  readonly #record: RequestRecord;
  readonly #finishReasons: string[] = [];

  constructor(options: RequestObserverOptions) {
    this.#options = options;
    this.#record = options.record;
  }

  /** Loads the adapter's files. If that fails, the generation is reported as failed or abandoned. */
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

  /** Processes the next event of a sequence. */
  on(event: GenerationEvent): void {
    switch (event.type) {
      case 'submitted':
        this.#live.set(event.index, { submittedMs: this.#options.now(), tokens: 0 });
        return;
      case 'accepted':
        this.#accepted(this.#live.get(event.index)!, event.adapterUse);
        return;
      case 'admitted':
        this.#admitted(this.#live.get(event.index)!);
        return;
      case 'token':
        this.#token(this.#live.get(event.index)!);
        return;
      case 'finished':
        this.#finished(event.index, event.reason);
        return;
    }
  }

  #accepted(times: ObservedTimes, adapterUse: AdapterUse): void {
    times.acceptedMs = this.#options.now();
    this.#record.readyMs ??= times.acceptedMs;
    times.adapterUse = adapterUse;
    const { tier } = adapterUse;
    if (tier === undefined) return;
    const loadMs = this.#acquireMs + times.acceptedMs - times.submittedMs;
    this.#options.metrics.observe('loadDuration', { tier }, loadMs / 1000);
  }

  #admitted(times: ObservedTimes): void {
    times.admittedMs = this.#options.now();
    this.#record.admittedMs ??= times.admittedMs;
  }

  #token(times: ObservedTimes): void {
    const nowMs = this.#options.now();
    const { metrics } = this.#options;
    const { startMs } = this.#record;
    const model = this.#model;
    if (times.lastTokenMs === undefined) {
      times.firstTokenMs = nowMs;
      this.#record.firstTokenMs ??= nowMs;
      metrics.observe('timeToFirstToken', model, (nowMs - startMs) / 1000);
    } else {
      metrics.observe('timePerOutputToken', model, (nowMs - times.lastTokenMs) / 1000);
    }
    times.lastTokenMs = nowMs;
    times.tokens++;
    this.#record.tokens++;
  }

  #finished(index: number, reason: string): void {
    const times = this.#live.get(index)!;
    const { metrics, now } = this.#options;
    const { startMs } = this.#record;
    const model = this.#model;
    const endMs = now();
    this.#finishReasons.push(reason);
    metrics.add('requestSuccess', { ...model, finished_reason: reason });
    metrics.observe('requestLatency', model, (endMs - startMs) / 1000);
    const { admittedMs, firstTokenMs = endMs } = times;
    if (admittedMs !== undefined) {
      metrics.observe('queueTime', model, (admittedMs - startMs) / 1000);
      metrics.observe('prefillTime', model, (firstTokenMs - admittedMs) / 1000);
      metrics.observe('decodeTime', model, (endMs - firstTokenMs) / 1000);
      metrics.observe('inferenceTime', model, (endMs - admittedMs) / 1000);
    }
    this.#close(index, times, endMs);
  }

  /** Every sequence has finished. */
  completed(): void {
    const { metrics, facts, now } = this.#options;
    const shownLabels = this.#options.toLabels();
    const labels = this.#genAi(shownLabels);
    const endMs = now();
    const { startMs, firstTokenMs, tokens } = this.#record;
    if (firstTokenMs !== undefined) {
      metrics.observe('genAiFirstToken', labels, (firstTokenMs - startMs) / 1000);
      if (tokens > 1) {
        const perToken = (endMs - firstTokenMs) / (tokens - 1);
        metrics.observe('genAiPerToken', labels, perToken / 1000);
      }
    }
    const type = GEN_AI.tokenType;
    metrics.observe('genAiTokens', { ...labels, [type]: 'input' }, facts.promptTokens);
    metrics.observe('genAiTokens', { ...labels, [type]: 'output' }, tokens);
    this.#end('ok', endMs, shownLabels);
  }

  /** The generation ended with an error. */
  failed(error: unknown): void {
    const code = error instanceof ServeError ? error.code : 'internal_error';
    this.#end(code, this.#options.now());
  }

  /** The client left. */
  abandoned(): void {
    const { metrics } = this.#options;
    for (const _ of this.#live) {
      metrics.add('requestSuccess', { ...this.#model, finished_reason: 'abort' });
    }
    this.#end('aborted', this.#options.now());
  }

  #end(outcome: string, endMs: number, shownLabels = this.#options.toLabels()): void {
    const { metrics, facts, trace } = this.#options;
    const { startMs, firstTokenMs, tokens } = this.#record;
    for (const [index, times] of this.#live) this.#close(index, times, endMs);
    const error = { [GEN_AI.errorType]: outcome === 'ok' ? '' : outcome };
    metrics.observe(
      'genAiDuration',
      { ...this.#genAi(shownLabels), ...error },
      (endMs - startMs) / 1000,
    );
    const { tenant, adapter } = shownLabels;
    metrics.add('tenantRequests', { tenant, outcome });
    metrics.add('tenantTokens', { tenant, type: 'input' }, facts.promptTokens);
    metrics.add('tenantTokens', { tenant, type: 'output' }, tokens);
    if (adapter) {
      metrics.add('adapterRequests', { ...adapter, outcome });
      metrics.add('adapterTokens', { ...adapter, type: 'input' }, facts.promptTokens);
      metrics.add('adapterTokens', { ...adapter, type: 'output' }, tokens);
    }
    trace?.end({
      outcome,
      outputTokens: tokens,
      finishReasons: this.#finishReasons,
      firstTokenMs,
    });
    this.#options.onEnd({ atMs: endMs, outcome });
  }

  /** Moves an ended sequence to the trace. */
  #close(index: number, times: ObservedTimes, endMs: number): void {
    this.#live.delete(index);
    this.#options.trace?.sequence(index, times, endMs);
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
