// Trains a job under its lease: starts or resumes the trainer, turns its messages into events, checkpoints and a result, and
// ends the job. A server that loses the lease stops its trainer and writes nothing more.

import { ServeError } from '../common/errors.ts';
import { every } from '../common/waiting.ts';
import type { EvaluationCard } from '../contracts/evaluation-card.ts';
import type {
  EventMessage,
  Fault,
  SnapshotMessage,
  TrainedMessage,
  TrainerMessage,
} from '../contracts/training-messages.ts';
import type { JobsContext, RunObserver } from './context.ts';
import { withInterruption } from './interrupted-job.ts';
import { advance, type JobRecord, messageEvent, type NewEvent, withFault } from './job.ts';
import { InputFault, JobFolder } from './job-folder.ts';
import { type JobLease, LeaseLost } from './lease.ts';
import type { Task } from './lease-worker.ts';
import type { RunArchive } from './run-archive.ts';
import { archiveOf } from './run-archive.ts';
import { RunJournal } from './run-journal.ts';
import { RunResults } from './run-results.ts';
import { type RunEnd, type RunRequest, RunStop } from './runner.ts';
import { runEvent } from './trainer-events.ts';

const UNOBSERVED: RunObserver = {
  trainingBegan() {},
  epochEnded() {},
  during: (_phase, act) => act(),
  ended() {},
};

/** One run of a job on this server. */
export class TrainingRun implements Task {
  readonly #lease: JobLease;
  readonly #context: JobsContext;
  readonly #folder: JobFolder;
  readonly #archive: RunArchive;
  readonly #journal: RunJournal;
  readonly #results: RunResults;
  readonly #observer: RunObserver;
  readonly #stop = new RunStop();
  #hasStarted = false;
  #isServerStopping = false;
  #card: EvaluationCard | undefined;
  #trained: TrainedMessage | undefined;

  constructor(lease: JobLease, context: JobsContext) {
    const { record: job } = lease;
    this.#lease = lease;
    this.#context = context;
    this.#folder = new JobFolder(job, context);
    this.#archive = archiveOf(job, context);
    this.#journal = new RunJournal(lease, context, () => this.#obeyRecord());
    this.#results = new RunResults(lease, this.#journal, context);
    this.#observer = context.observe?.(job) ?? UNOBSERVED;
    lease.lost.addEventListener('abort', () => this.#stop.request('detach'));
  }

  async run(): Promise<void> {
    const { timing, clock } = this.#context;
    const endRenewal = every(timing.renewMs, () => void this.refresh(), clock);
    try {
      const request = await this.#start();
      if (!request) return await this.#lease.release();
      this.#observer.trainingBegan();
      this.#hasStarted = true;
      this.#obeyRecord();
      for await (const message of this.#context.runner.run(request, this.#stop.signals)) {
        if (message.type === 'end') await this.#finish(message.end);
        else await this.#handle(message);
      }
    } catch (error) {
      if (error instanceof InputFault) await this.#fail(error.fault);
      else if (!(error instanceof LeaseLost)) throw error;
    } finally {
      endRenewal();
      this.#journal.close();
      const { record: job, lost } = this.#lease;
      this.#observer.ended(job.status, lost.aborted ? 'lease_lost' : job.error?.code);
    }
  }

  /** Renews the lease, writes the trainer's reports, and acts on the job's record. */
  refresh(): Promise<void> {
    return this.#journal.tryWrite();
  }

  stop(): void {
    this.#isServerStopping = true;
    this.#stop.request(this.#context.runner.outlivesServer ? 'detach' : 'pause');
  }

  kill(): void {
    this.#isServerStopping = true;
    this.#stop.request('detach');
  }

  /** Marks the job as running. Returns undefined if it has ended or was paused meanwhile. */
  async #start(): Promise<RunRequest | undefined> {
    const { now } = this.#context;
    const { lost } = this.#lease;
    const { job, isResume } = await this.#observer.during('prepare', async () => ({
      job: await this.#folder.prepare(this.#lease.record, lost),
      isResume: await this.#folder.restoreRun(this.#archive, lost),
    }));
    const isFirst = this.#lease.record.status === 'queued' && !this.#lease.record.progress;
    const events = isFirst ? [messageEvent('Fine-tuning job started')] : [];
    await this.#lease.change((state) => {
      const started = advance(state, 'start', { nowMs: now(), events });
      return started && { ...started, isPublishing: false };
    });
    const { id: jobId, status, tenant, token: fencingToken, request, plan } = this.#lease.record;
    if (status !== 'running') return undefined;
    const { gate = {} } = request.settings;
    const { runDir } = this.#folder;
    const memoryBytes = plan?.memoryBytes;
    return { jobId, tenant, fencingToken, memoryBytes, runDir, job, gate, isResume };
  }

  /** Passes client actions on to the run. A job that was paused and resumed between two writes also starts again. */
  #obeyRecord(): void {
    if (!this.#hasStarted) return;
    const { status } = this.#lease.record;
    if (status === 'cancelled') this.#stop.request('cancel');
    if (status === 'paused' || status === 'queued') this.#stop.request('pause');
  }

  async #handle(message: TrainerMessage): Promise<void> {
    if (this.#lease.lost.aborted) return;
    try {
      if (message.type === 'step') await this.#journal.addStep(message);
      else if (message.type === 'event') await this.#onEvent(message);
      else if (message.type === 'snapshot') await this.#onSnapshot(message);
      else if (message.type === 'samples')
        await this.#context.jobs.addSamples(this.#lease.record, message);
      else if (message.type === 'card') this.#card = message.card;
      else if (message.type === 'trained') this.#trained = message;
    } catch (error) {
      if (!(error instanceof LeaseLost)) this.#context.log.warn({ err: error }, 'job not written');
    }
  }

  async #onEvent(message: EventMessage): Promise<void> {
    const event = runEvent(message);
    if (event) this.#journal.addEvent(event);
    if (message.code === 'checkpoint') await this.#save();
  }

  async #onSnapshot(snapshot: SnapshotMessage): Promise<void> {
    await this.#observer.during('checkpoint', async () => {
      await this.#results.publishCheckpoint(snapshot);
      await this.#results.removeOldCheckpoints();
    });
    this.#observer.epochEnded(snapshot.step);
  }

  async #save(): Promise<void> {
    const { record: job, lost: signal } = this.#lease;
    // The trainer is ahead of its messages: its newest checkpoint may be later than snapshots that have not been published yet.
    const publishedStep = job.checkpoints.at(-1)?.step ?? 0;
    try {
      await this.#observer.during('archive', () =>
        this.#archive.save(this.#folder.runDir, { signal, publishedStep }),
      );
    } catch (error) {
      this.#context.log.warn({ err: error, job: job.id }, 'checkpoint not archived');
    }
  }

  async #finish(end: RunEnd): Promise<void> {
    const { id } = this.#lease.record;
    if (this.#lease.lost.aborted)
      return this.#context.log.warn({ job: id }, 'lost the lease of a job');
    await this.#journal.write();
    if (this.#lease.record.status !== 'running') return this.#leave();
    if (end.kind === 'succeeded') return this.#succeed();
    if (end.kind === 'failed') return this.#fail(end.error);
    if (end.kind === 'lost' && !this.#isServerStopping) return this.#interrupt(end.error);
    if (end.kind === 'detached') return this.#lease.release();
    if (end.kind === 'paused') await this.#save();
    const why = this.#isServerStopping ? 'The server is shutting down' : 'The trainer was stopped';
    await this.#end('requeue', [messageEvent(`${why}, moving job to queued state`)]);
  }

  /** Stops after a client cancelled or paused the job. The record already says so. */
  async #leave(): Promise<void> {
    if (this.#lease.record.status !== 'cancelled') await this.#save();
    await this.#lease.release();
  }

  async #interrupt(fault: Fault): Promise<void> {
    await this.#lease.release((now) => withInterruption(now, fault, this.#context.now()));
  }

  async #fail(fault: Fault): Promise<void> {
    await this.#lease.release((now) => {
      const failed = withFault(now, fault, this.#context.now());
      return failed && { ...failed, ...(this.#card && { card: this.#card }) };
    });
  }

  async #succeed(): Promise<void> {
    const trained = this.#trained;
    if (!trained) {
      const message = 'The trainer ended without a result. The log of the server gives the reason.';
      return this.#fail({ code: 'training_failed', message, param: null });
    }
    await this.#journal.write((job) => ({ ...job, isPublishing: true }));
    if (this.#lease.record.status !== 'running') return this.#leave();
    await this.#results.removeOldCheckpoints();
    try {
      const { result, events } = await this.#observer.during('publish', () =>
        this.#results.publishResult(trained, this.#card),
      );
      await this.#end('succeed', events, { result, ...(this.#card && { card: this.#card }) });
    } catch (error) {
      // Only client errors are certain to recur.
      if (!(error instanceof ServeError && error.status < 500)) throw error;
      const { code, message, param } = error;
      await this.#fail({ code, message, param });
    }
  }

  async #end(
    action: 'requeue' | 'succeed',
    events: readonly NewEvent[],
    facts: Partial<JobRecord> = {},
  ): Promise<void> {
    const nowMs = this.#context.now();
    await this.#lease.release((now) => {
      const next = advance(now, action, { nowMs, events });
      return next && { ...next, ...facts };
    });
  }
}
