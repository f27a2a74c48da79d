// Traces a training run on this server: the job's span, with child spans for epochs and for other work, such as fetching files
// and publishing. Only names, counts and times reach a span.
import type { TraceSpan, Tracing } from './tracing.ts';

/** A run of a job. */
export interface TracedRun {
  readonly id: string;
  readonly tenant: string;
  /** The number of the job's lease. A run that continues on another server gets a separate trace. */
  readonly attempt: number;
}

/** The trace of one run. */
export class JobTrace {
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
