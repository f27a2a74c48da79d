// A job's run under a lease: the trainer is started (or goes on), what it says becomes events and published
// checkpoints, its result is published and only then the job has succeeded. Whoever loses the lease stops its trainer
// and writes nothing more. It knows neither processes nor HTTP.
import { stat } from 'node:fs/promises';
import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type {
  EvaluationCard,
  Fault,
  SnapshotMessage,
  TrainedMessage,
  TrainerMessage,
} from '../contracts/training.ts';
import type { Files } from './files.ts';
import { type HeldJob, LeaseLost } from './held-job.ts';
import {
  advance,
  type JobRecord,
  type JobState,
  type NewEvent,
  told,
  withCheckpoint,
  withEvents,
  withFault,
  withoutDropped,
} from './job.ts';
import { checkpointModel, fineTunedModel, shortId } from './names.ts';
import type { Publication, Right } from './publication.ts';
import { RunJournal } from './run-journal.ts';
import { type RunObserver, UNOBSERVED } from './run-observer.ts';
import type { JobRunner, RunArchive, RunEnd, RunningJob } from './runner.ts';
import { withSetback } from './setback.ts';
import { checkpointMetrics, runEvent } from './told-run.ts';
import type { JobWork } from './worker.ts';
import { InputFault, type Workspace } from './workspace.ts';

export interface TrainingParts {
  readonly runner: JobRunner;
  readonly files: Files;
  readonly publication: Publication;
  readonly workspace: Workspace;
  readonly archive: RunArchive;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Between two writings of what the trainer says. */
  readonly flushMs: number;
  /** Between two renewals of the lease. */
  readonly renewMs: number;
  readonly observer: RunObserver | undefined;
}

export class TrainingRun implements JobWork {
  readonly #held: HeldJob;
  readonly #journal: RunJournal;
  readonly #parts: TrainingParts;
  readonly #observer: RunObserver;
  #running: RunningJob | undefined;
  #isPutBack = false;
  #card: EvaluationCard | undefined;
  #trained: TrainedMessage | undefined;

  constructor(held: HeldJob, parts: TrainingParts) {
    this.#held = held;
    this.#parts = parts;
    this.#journal = new RunJournal(held, { ...parts, onWritten: () => this.#obey() });
    this.#observer = parts.observer ?? UNOBSERVED;
    held.lost.addEventListener('abort', () => this.#running?.drop());
  }

  /** Resolves when this server has no part in the job any more. Rejects as the store does. */
  async work(): Promise<void> {
    const { runner, workspace, archive, now } = this.#parts;
    const { lost } = this.#held;
    const renewal = setInterval(() => void this.look(), this.#parts.renewMs);
    try {
      const { job, isResume } = await this.#observer.during('prepare', async () => ({
        job: await workspace.prepare(this.#held.job, lost),
        isResume: await workspace.restoreRun(archive, lost),
      }));
      const isFirst = this.#held.job.status === 'queued' && !this.#held.job.progress;
      const events = isFirst ? [told('Fine-tuning job started')] : [];
      await this.#held.change((state) => {
        const started = advance(state, 'start', { nowMs: now(), events });
        return started && { ...started, isPublishing: false };
      });
      if (this.#held.job.status !== 'running') return await this.#held.release();
      const { id: jobId, tenant, token, request, plan } = this.#held.job;
      const { gate = {} } = request.settings;
      const { runDir } = workspace;
      const hooks = { onMessage: (message: TrainerMessage) => this.#hear(message) };
      this.#running = runner.start(
        { jobId, tenant, token, memoryBytes: plan?.memoryBytes, runDir, job, gate, isResume },
        hooks,
      );
      this.#observer.trainingBegan();
      this.#obey();
      await this.#settle(await this.#running.ended);
    } catch (error) {
      if (error instanceof InputFault) await this.#fail(error.fault);
      else if (!(error instanceof LeaseLost)) throw error;
    } finally {
      clearInterval(renewal);
      this.#journal.close();
      this.#running?.drop();
      this.#tellEnd();
    }
  }

  #tellEnd(): void {
    const { job, lost } = this.#held;
    const error = lost.aborted ? 'lease_lost' : job.error?.code;
    this.#observer.ended(job.status, error);
  }

  /** For whoever goes on with it. */
  putBack(): void {
    this.#isPutBack = true;
    this.#running?.leave();
  }

  /** Does not wait for the trainer's checkpoint. */
  abandon(): void {
    this.#isPutBack = true;
    this.#running?.drop();
  }

  /** Renews the lease, writes down what was told, and does what the job's record asks for. Does not reject. */
  look(): Promise<void> {
    return this.#journal.tryWrite();
  }

  async #hear(message: TrainerMessage): Promise<void> {
    if (this.#held.lost.aborted) return;
    try {
      if (message.type === 'step') await this.#journal.addStep(message);
      if (message.type === 'snapshot') await this.#endEpoch(message);
      if (message.type === 'card') this.#card = message.card;
      if (message.type === 'trained') this.#trained = message;
      if (message.type !== 'event') return;
      const event = runEvent(message);
      if (event) this.#journal.tell(event);
      if (message.code === 'checkpoint') await this.#archive();
    } catch (error) {
      if (!(error instanceof LeaseLost)) this.#parts.log.warn({ err: error }, 'job not written');
    }
  }

  /** What clients have asked for since. One that was paused and resumed between two looks is begun again, too. */
  #obey(): void {
    const { status } = this.#held.job;
    if (status === 'cancelled') this.#running?.cancel();
    if (status === 'paused' || status === 'queued') this.#running?.pause();
    else if (this.#isPutBack) this.#running?.leave();
  }

  async #archive(): Promise<void> {
    const { archive, workspace } = this.#parts;
    try {
      await this.#observer.during('archive', () =>
        archive.save(workspace.runDir, { signal: this.#held.lost }),
      );
    } catch (error) {
      this.#parts.log.warn({ err: error, job: this.#held.job.id }, 'checkpoint not archived');
    }
  }

  async #endEpoch(snapshot: SnapshotMessage): Promise<void> {
    await this.#observer.during('checkpoint', async () => {
      await this.#publishCheckpoint(snapshot);
      await this.#trim();
    });
    this.#observer.epochEnded(snapshot.step);
  }

  async #publishCheckpoint(snapshot: SnapshotMessage): Promise<void> {
    const { publication, now } = this.#parts;
    const { step, metrics } = snapshot;
    const { job } = this.#held;
    const isKnown = job.checkpoints.some((known) => known.step >= step);
    if (isKnown) return; // told before the run was cut off
    try {
      const { version, digest } = await publication.checkpoint(job, snapshot, this.#right());
      const checkpoint = { step, version, digest, createdMs: now(), metrics };
      const text = `Checkpoint created at step ${step} with Snapshot ID: ${checkpointModel(job, step)}`;
      const event = told(text, { data: checkpointMetrics(step, metrics) });
      await this.#journal.write((now) =>
        withEvents(withCheckpoint(now, checkpoint), [event], checkpoint.createdMs),
      );
    } catch (error) {
      if (error instanceof LeaseLost) throw error;
      this.#parts.log.warn({ err: error, job: job.id, step }, 'checkpoint not published');
      const reason = error instanceof ServeError ? `: ${error.message}` : '';
      const text = `The checkpoint of step ${step} was not published${reason}`;
      this.#journal.tell(told(text, { level: 'warn', data: { step } }));
    }
  }

  /** Of checkpoints that newer ones replace. What fails is tried again at the next epoch's end, or the run's. */
  async #trim(): Promise<void> {
    const { job } = this.#held;
    if (job.dropped.length === 0) return;
    try {
      await this.#parts.publication.trim(job);
      await this.#journal.write((now) => withoutDropped(now, job.dropped));
    } catch (error) {
      if (error instanceof LeaseLost) throw error;
      this.#parts.log.warn({ err: error, job: job.id }, 'old checkpoints not removed');
    }
  }

  #right(): Right {
    return { token: this.#held.token, confirm: () => this.#confirm() };
  }

  /** Just before an alias moves: the lease is this one, and nobody has ended the job. */
  async #confirm(): Promise<void> {
    await this.#held.change();
    if (this.#held.job.status !== 'running') throw new LeaseLost('the job was ended');
  }

  async #settle(end: RunEnd): Promise<void> {
    const { log } = this.#parts;
    const { id } = this.#held.job;
    if (this.#held.lost.aborted) return log.warn({ job: id }, 'lost the lease of a job');
    await this.#journal.write();
    const { status } = this.#held.job;
    if (status !== 'running') return this.#leave();
    if (end.kind === 'succeeded') return this.#succeed();
    if (end.kind === 'failed') return this.#fail(end.error);
    if (end.kind === 'lost' && !this.#isPutBack) return this.#countLoss(end.error);
    if (end.kind === 'left') return this.#held.release();
    if (end.kind === 'paused') await this.#archive();
    const why = this.#isPutBack ? 'The server is shutting down' : 'The trainer was stopped';
    await this.#release('putBack', [told(`${why}, moving job to queued state`)]);
  }

  /** Cancelled, or paused and maybe resumed since: the record says so already. */
  async #leave(): Promise<void> {
    if (this.#held.job.status !== 'cancelled') await this.#archive();
    await this.#held.release();
  }

  async #countLoss(fault: Fault): Promise<void> {
    await this.#held.release((now) => withSetback(now, fault, this.#parts.now()));
  }

  async #fail(fault: Fault): Promise<void> {
    await this.#held.release((now) => {
      const failed = withFault(now, fault, this.#parts.now());
      return failed && { ...failed, ...(this.#card && { card: this.#card }) };
    });
  }

  async #release(
    action: 'putBack' | 'succeed',
    events: readonly NewEvent[],
    facts: Partial<JobState> = {},
  ): Promise<void> {
    const nowMs = this.#parts.now();
    await this.#held.release((now) => {
      const next = advance(now, action, { nowMs, events });
      return next && { ...next, ...facts };
    });
  }

  async #succeed(): Promise<void> {
    const trained = this.#trained;
    if (!trained) {
      const message = 'The trainer ended without a result.';
      return this.#fail({ code: 'training_failed', message, param: null });
    }
    await this.#journal.write((job) => ({ ...job, isPublishing: true }));
    if (this.#held.job.status !== 'running') return this.#leave();
    const { publication } = this.#parts;
    const { job } = this.#held;
    await this.#trim();
    const { directory, totalSteps, trainedTokens } = trained;
    const metrics = { steps: totalSteps, ...(this.#card && { evaluation: this.#card }) };
    try {
      const { version, digest } = await this.#observer.during('publish', () =>
        publication.result(job, { directory, metrics }, this.#right()),
      );
      const resultFiles = [await this.#saveTable(job, trained)];
      const model = fineTunedModel(job);
      await this.#release(
        'succeed',
        [
          told(`New fine-tuned model created: ${model}`, { data: { model, version } }),
          told('The job has successfully completed'),
        ],
        {
          result: { version, digest, trainedTokens, resultFiles },
          ...(this.#card && { card: this.#card }),
        },
      );
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const { code, message, param } = error;
      await this.#fail({ code, message, param });
    }
  }

  /** Under an id that follows from the job's: a second try leads to the same file. */
  async #saveTable({ id, tenant }: JobRecord, { resultFile }: TrainedMessage): Promise<string> {
    const { size } = await stat(resultFile);
    const meta = await this.#parts.files.create(tenant, {
      id: `file-${shortId(id)}`,
      source: { file: resultFile },
      byteSize: size,
      filename: 'step_metrics.csv',
      purpose: 'fine-tune-results',
    });
    return meta.id;
  }
}

/** What is published is at fault; anything else may work later. */
function isRefusal(error: unknown): error is ServeError {
  return error instanceof ServeError && error.status < 500;
}
