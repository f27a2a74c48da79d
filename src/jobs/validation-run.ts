// A job's first part, under a lease: its files are read and its run is planned, in the trainer's own process. It ends
// queued or failed; where it is cut off, another server begins it again.
import type { Logger } from '../common/log.ts';
import { type HeldJob, LeaseLost } from './held-job.ts';
import { advance, type NewEvent, told, withFault } from './job.ts';
import type { JobRunner, PlanOutcome } from './runner.ts';
import { withSetback } from './setback.ts';
import type { JobWork } from './worker.ts';
import { type Asked, InputFault, type Workspace } from './workspace.ts';

export interface PlanParts {
  readonly runner: JobRunner;
  readonly workspace: Workspace;
}

/** Rejects with the signal's reason, or as the store does. */
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

export interface ValidationParts extends PlanParts {
  readonly log: Pick<Logger, 'warn'>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Between two renewals of the lease. */
  readonly renewMs: number;
}

export class ValidationRun implements JobWork {
  readonly #held: HeldJob;
  readonly #parts: ValidationParts;
  readonly #end = new AbortController();

  constructor(held: HeldJob, parts: ValidationParts) {
    this.#held = held;
    this.#parts = parts;
    held.lost.addEventListener('abort', () => this.#end.abort(held.lost.reason));
  }

  async work(): Promise<void> {
    const renewal = setInterval(() => void this.look(), this.#parts.renewMs);
    try {
      const outcome = await planJob(this.#held.job, this.#parts, this.#end.signal);
      await this.#settle(outcome);
    } catch (error) {
      if (error instanceof LeaseLost) return;
      if (!this.#end.signal.aborted) throw error;
      await this.#letGo();
    } finally {
      clearInterval(renewal);
    }
  }

  /** Somebody may have cancelled it. Does not reject. */
  async look(): Promise<void> {
    try {
      await this.#held.change();
      if (this.#held.job.status !== 'validating_files') this.abandon();
    } catch (error) {
      if (!(error instanceof LeaseLost)) this.#parts.log.warn({ err: error }, 'job not written');
    }
  }

  putBack(): void {
    this.abandon();
  }

  abandon(): void {
    this.#end.abort(new DOMException('the job is not validated any more', 'AbortError'));
  }

  /** As it is: cancelled, or for the next server. */
  async #letGo(): Promise<void> {
    try {
      await this.#held.release();
    } catch (error) {
      if (!(error instanceof LeaseLost)) throw error;
    }
  }

  async #settle(outcome: PlanOutcome): Promise<void> {
    const nowMs = this.#parts.now();
    if (outcome.kind !== 'planned') {
      const after = outcome.kind === 'refused' ? withFault : withSetback;
      return this.#held.release((now) => after(now, outcome.error, nowMs));
    }
    const { firstBatch: _text, warnings, ...plan } = outcome.plan;
    const events: NewEvent[] = [
      ...warnings.map(({ code, message }) => told(message, { level: 'warn', data: { code } })),
      told('Files validated, moving job to queued state'),
    ];
    await this.#held.release((now) => {
      const next = advance(now, 'validate', { nowMs, events });
      return next && { ...next, plan, setbacks: 0 };
    });
  }
}
