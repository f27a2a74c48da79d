// The trace of a training run on this server: the job's span, below it its epochs, and what is done for it (its files
// fetched, checkpoints published and archived, the result published). Names, counts and times only.
import type { TraceSpan, Tracing } from './tracing.ts';

export interface TracedRun {
  readonly id: string;
  readonly tenant: string;
  /** Which of the job's leases this is: a run that goes on elsewhere is a trace of its own. */
  readonly attempt: number;
}

export class JobTrace {
  readonly #tracing: Tracing;
  readonly #span: TraceSpan;
  /** One that sees no end is not sent. */
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

  trainingBegan(): void {
    this.#epoch = this.#span.startChild('epoch', { 'lorikeet.job.epoch': ++this.#epochCount });
  }

  epochEnded(step: number): void {
    this.#epoch?.setAttributes({ 'lorikeet.job.step': step });
    this.#epoch?.end();
    this.trainingBegan();
  }

  /** Log lines of `act` carry the span's ids. */
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

  ended(status: string, error: string | undefined): void {
    this.#span.setAttributes({ 'lorikeet.job.status': status });
    if (error !== undefined) this.#span.setFailed(error);
    this.#span.end();
  }
}
