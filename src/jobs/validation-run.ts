// Validates a job under its lease: the trainer reads its files and plans its run. The job ends up queued or failed. If
// this is interrupted, another server starts over.
import type { Logger } from '../common/log.ts';
import { withInterruption } from './interruption.ts';
import { advance, messageEvent, type NewEvent, withFault } from './job.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import type { JobRunner, PlanOutcome } from './runner.ts';
import type { JobTask } from './worker.ts';
import { type Asked, InputFault, type Workspace } from './workspace.ts';

/** The parts that plan a job. */
export interface PlanParts {
  readonly runner: JobRunner;
  readonly workspace: Workspace;
}

/** Fetches the job's files and plans its run. Throws the signal's reason or the store's error. */
export async function planJob(
  asked: Asked & { readonly id: string },
  { runner, workspace }: PlanParts,
  signal: AbortSignal,
): Promise<PlanOutcome> {
  try {
    const job = await workspace.prepare(asked, signal);
    return await runner.plan({ jobId: asked.id, tenant: asked.tenant, job }, { signal });
  } catch (error) {
    if (error instanceof InputFault) return { kind: 'refused', error: error.fault };
    throw error;
  }
}

/** Settings of a `ValidationRun`. */
export interface ValidationRunOptions extends PlanParts {
  readonly log: Pick<Logger, 'warn'>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Milliseconds between renewals of the lease. */
  readonly renewMs: number;
}

/** The validation of one job on this server. */
export class ValidationRun implements JobTask {
  readonly #lease: JobLease;
  readonly #options: ValidationRunOptions;
  readonly #end = new AbortController();

  constructor(lease: JobLease, options: ValidationRunOptions) {
    this.#lease = lease;
    this.#options = options;
    lease.lost.addEventListener('abort', () => this.#end.abort(lease.lost.reason));
  }

  async run(): Promise<void> {
    const renewal = setInterval(() => void this.refresh(), this.#options.renewMs);
    try {
      await this.#finish(await planJob(this.#lease.job, this.#options, this.#end.signal));
    } catch (error) {
      if (error instanceof LeaseLost) return;
      if (!this.#end.signal.aborted) throw error;
      await this.#release();
    } finally {
      clearInterval(renewal);
    }
  }

  async refresh(): Promise<void> {
    try {
      await this.#lease.change();
      if (this.#lease.job.status !== 'validating_files') this.kill();
    } catch (error) {
      if (!(error instanceof LeaseLost)) this.#options.log.warn({ err: error }, 'job not written');
    }
  }

  stop(): void {
    this.kill();
  }

  kill(): void {
    this.#end.abort(new DOMException('the validation was stopped', 'AbortError'));
  }

  /** Leaves the job as it is: cancelled, or for the next server. */
  async #release(): Promise<void> {
    try {
      await this.#lease.release();
    } catch (error) {
      if (!(error instanceof LeaseLost)) throw error;
    }
  }

  async #finish(outcome: PlanOutcome): Promise<void> {
    const nowMs = this.#options.now();
    if (outcome.kind !== 'planned') {
      const after = outcome.kind === 'refused' ? withFault : withInterruption;
      return this.#lease.release((now) => after(now, outcome.error, nowMs));
    }
    const { firstBatch: _text, warnings, ...plan } = outcome.plan;
    const events: NewEvent[] = [
      ...warnings.map(({ code, message }) =>
        messageEvent(message, { level: 'warn', data: { code } }),
      ),
      messageEvent('Files validated, moving job to queued state'),
    ];
    await this.#lease.release((now) => {
      const next = advance(now, 'validate', { nowMs, events });
      return next && { ...next, plan, setbacks: 0 };
    });
  }
}
