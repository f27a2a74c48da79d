// Plans jobs: the trainer reads a job's files and estimates its run. `ValidationRun` plans a job under its lease; `DryRuns`
// plans a request while its client waits, and leaves nothing behind.

import { randomUUID } from 'node:crypto';
import { type ErrorCode, ServeError } from '../common/errors.ts';
import { every } from '../common/waiting.ts';
import type { Fault, JobPlan } from '../contracts/training-messages.ts';
import { fileFault } from '../rows/file-fault.ts';
import { excessDetail } from './check-rows.ts';
import type { JobsContext } from './context.ts';
import { withInterruption } from './interrupted-job.ts';
import { advance, type JobRecord, messageEvent, type NewEvent, withFault } from './job.ts';
import { InputFault, JobFolder } from './job-folder.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import type { Task } from './lease-worker.ts';
import type { JobRunner, PlanOutcome } from './runner.ts';

/** Fetches the job's files and plans its run. Throws the signal's reason or the store's error. */
async function planJob(
  { id, tenant, request }: Pick<JobRecord, 'id' | 'tenant' | 'request'>,
  { runner, folder }: { readonly runner: JobRunner; readonly folder: JobFolder },
  signal: AbortSignal,
): Promise<PlanOutcome> {
  try {
    const job = await folder.prepare({ tenant, request }, signal);
    const outcome = await runner.plan({ jobId: id, tenant, job }, { signal });
    const excess = outcome.kind === 'planned' && excessOf(request, outcome.plan);
    return excess ? { kind: 'refused', error: excess } : outcome;
  } catch (error) {
    if (error instanceof InputFault) return { kind: 'refused', error: error.fault };
    throw error;
  }
}

/** The check of a request may have read only a part of a file. */
function excessOf(
  { objective = 'supervised', trainingFile, validationFile }: JobRecord['request'],
  { examples, validationExamples }: JobPlan,
): Fault | undefined {
  const heldOut = validationFile === undefined ? validationExamples : 0; // of the training file
  const files = [
    ['training_file', trainingFile, examples + heldOut],
    ['validation_file', validationFile ?? '', validationExamples - heldOut],
  ] as const;
  const code = 'invalid_n_examples';
  for (const [param, file, count] of files) {
    const detail = excessDetail(count, { param, objective });
    if (detail !== undefined)
      return fileFault({ file, param, code, detail, faults: [], badLines: 0 });
  }
  return undefined;
}

/** The validation of one job, after which the job is queued or failed. If it is interrupted, another server starts over. */
export class ValidationRun implements Task {
  readonly #lease: JobLease;
  readonly #context: JobsContext;
  readonly #end = new AbortController();

  constructor(lease: JobLease, context: JobsContext) {
    this.#lease = lease;
    this.#context = context;
    lease.lost.addEventListener('abort', () => this.#end.abort(lease.lost.reason));
  }

  async run(): Promise<void> {
    const { runner, timing, clock } = this.#context;
    const endRenewal = every(timing.renewMs, () => void this.refresh(), clock);
    const { record: job } = this.#lease;
    try {
      const parts = { runner, folder: new JobFolder(job, this.#context) };
      await this.#finish(await planJob(job, parts, this.#end.signal));
    } catch (error) {
      if (error instanceof LeaseLost) return;
      if (!this.#end.signal.aborted) throw error;
      // Leaves the job unchanged, because it was cancelled or the next server will take it.
      await this.#lease.release().catch((cause) => {
        if (!(cause instanceof LeaseLost)) throw cause;
      });
    } finally {
      endRenewal();
    }
  }

  async refresh(): Promise<void> {
    try {
      await this.#lease.change();
      if (this.#lease.record.status !== 'validating_files') this.kill();
    } catch (error) {
      if (!(error instanceof LeaseLost)) this.#context.log.warn({ err: error }, 'job not written');
    }
  }

  stop(): void {
    this.kill();
  }

  kill(): void {
    this.#end.abort(new DOMException('the validation was stopped', 'AbortError'));
  }

  async #finish(outcome: PlanOutcome): Promise<void> {
    const nowMs = this.#context.now();
    if (outcome.kind !== 'planned') {
      const after = outcome.kind === 'refused' ? withFault : withInterruption;
      return this.#lease.release((now) => after(now, outcome.error, nowMs));
    }
    const { firstBatch: _text, warnings, labels, ...plan } = outcome.plan;
    const classes = labels && { classCount: labels.length };
    const events: NewEvent[] = [
      ...warnings.map(({ code, message }) =>
        messageEvent(message, { level: 'warn', data: { code } }),
      ),
      messageEvent('Files validated, moving job to queued state'),
    ];
    await this.#lease.release((now) => {
      const next = advance(now, 'validate', { nowMs, events });
      return next && { ...next, plan: { ...plan, ...classes }, retries: 0 };
    });
  }
}

/** Each dry run keeps a request open and occupies a core. */
const MAX_DRY_RUNS = 2;
const RETRY_S = 5;
/** Faults that have their own error code. */
const ERROR_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'invalid_training_file',
  'invalid_n_examples',
  'unsupported_parameter',
  'base_mismatch',
]);

/** Plans requests without creating jobs. */
export class DryRuns {
  readonly #context: JobsContext;
  #count = 0;

  constructor(context: JobsContext) {
    this.#context = context;
  }

  /**
   * Plans a request. Throws `ServeError` if the files or settings are wrong or too many dry runs are active, or the signal's
   * reason.
   */
  async plan(
    request: Pick<JobRecord, 'tenant' | 'request'>,
    signal: AbortSignal,
  ): Promise<JobPlan> {
    if (this.#count >= MAX_DRY_RUNS) {
      const message = `${MAX_DRY_RUNS} dry runs are in progress. Try again in ${RETRY_S} seconds.`;
      throw new ServeError('overloaded', message, { retryAfterS: RETRY_S });
    }
    this.#count++;
    const id = `dryrun-${randomUUID()}`;
    const { runner, dryRunRoot: root } = this.#context;
    const folder = new JobFolder(
      { id, tenant: request.tenant, token: 0 },
      { ...this.#context, root },
    );
    try {
      const parts = { runner, folder };
      const outcome = await planJob({ ...request, id }, parts, signal);
      if (outcome.kind === 'planned') return outcome.plan;
      throw toError(outcome.error, outcome.kind);
    } finally {
      this.#count--;
      await folder.remove();
    }
  }
}

/** The trainer was killed: either the machine or the size of the plan is to blame. */
function toError({ code, message, param }: Fault, kind: 'refused' | 'lost'): ServeError {
  const options = param === null ? {} : { param };
  if (kind === 'lost') return new ServeError('overloaded', message, options);
  const errorCode = ERROR_CODES.has(code) ? (code as ErrorCode) : 'invalid_request';
  return new ServeError(errorCode, message, options);
}
