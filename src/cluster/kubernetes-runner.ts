// Runs a server's jobs as Kubernetes Jobs, one per attempt. Server and pod communicate through the store, so the pod keeps
// training while servers are replaced. Only the server publishes. Plans run on the server: they compute no gradients, and a
// client waits for them.
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { type Backoff, retry, sleep } from '../common/waiting.ts';
import type { EventMessage, TrainerMessage } from '../contracts/training-messages.ts';
import type { JobRunner, RunEnd, RunEndMessage, RunRequest, StopSignals } from '../jobs/runner.ts';
import { type ApiClient, ClusterUnavailable } from './api-client.ts';
import type { MessageBatch } from './attempt.ts';
import {
  jobNameOf,
  type KubernetesPhase,
  lossOf,
  type ManifestOptions,
  phaseOf,
  type TrainerTemplate,
  trainerManifest,
  trainerThreads,
  waitingReason,
} from './kubernetes-job.ts';
import { MessageReader } from './messages.ts';
import { beginAttempt, type OpenedAttempt, takeAttempt } from './open-attempt.ts';

/** Settings of the Kubernetes runner. */
export interface KubernetesRunnerOptions extends ManifestOptions {
  readonly store: GuardedStore;
  readonly api: ApiClient;
  readonly planner: Pick<JobRunner, 'plan'>;
  readonly template: TrainerTemplate;
  /** The digest of the served base. A pod with another base refuses the job. */
  readonly baseDigest: string;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Milliseconds between reads of the next batch of messages. */
  readonly pollMs?: number;
  /** Milliseconds between reads of the Job's status. */
  readonly lookMs?: number;
}

/** One small read a second, so curves look live. */
const POLL_MS = 1_000;
/** A pod's end usually arrives as a message. The status is for pods that cannot send one. */
const LOOK_MS = 5_000;
const BACKOFF: Backoff = { firstMs: 500, longestMs: 30_000 };
/** The pod may replace a checkpoint while it is being fetched. */
const MAX_RESTORES = 3;

/** Creates a runner whose trainers are pods of a cluster. */
export function createKubernetesRunner(options: KubernetesRunnerOptions): JobRunner {
  return {
    outlivesServer: true,
    plan: (request, call) => options.planner.plan(request, call),
    run: (request, stop) => new KubernetesRun(request, stop, options).messages(),
  };
}

class KubernetesRun {
  readonly #request: RunRequest;
  readonly #stop: StopSignals;
  readonly #options: KubernetesRunnerOptions;
  /** Aborts all calls when this server stops following the run. */
  readonly #call: { readonly signal: AbortSignal };
  readonly #anyStop: AbortSignal;
  #opened: OpenedAttempt | undefined;
  #phase: KubernetesPhase | undefined;
  #waitingFor: string | undefined;
  /** Whether the last message says that a pod has ended with a checkpoint. */
  #hasPaused = false;

  constructor(request: RunRequest, stop: StopSignals, options: KubernetesRunnerOptions) {
    this.#request = request;
    this.#stop = stop;
    this.#options = options;
    this.#call = { signal: AbortSignal.any([stop.cancel, stop.detach]) };
    this.#anyStop = AbortSignal.any([stop.pause, stop.cancel, stop.detach]);
  }

  async *messages(): AsyncGenerator<TrainerMessage | RunEndMessage, void> {
    let end: RunEnd;
    try {
      end = yield* this.#follow();
    } catch (error) {
      if (this.#stop.cancel.aborted) end = { kind: 'cancelled' };
      else end = this.#call.signal.aborted ? { kind: 'detached' } : this.#lost(error);
    }
    if (end.kind !== 'detached') await this.#close(end).catch((error) => this.#warn(error));
    yield { type: 'end', end };
  }

  #lost(error: unknown): RunEnd {
    this.#options.log.error(
      { err: error, job: this.#request.jobId },
      'the cluster cannot run the trainer',
    );
    const message = 'The cluster did not run the trainer.';
    return { kind: 'lost', error: { code: 'trainer_lost', message, param: null } };
  }

  async *#follow(): AsyncGenerator<TrainerMessage, RunEnd> {
    const opened = await this.#persist(() => this.#open());
    if (opened === 'taken') return { kind: 'detached' };
    if (!opened) return { kind: 'paused' };
    const reader = new MessageReader(opened.attempt, `${this.#request.runDir}.received`);
    let lookedMs = Number.NEGATIVE_INFINITY;
    let isDeleted = false;
    for (;;) {
      const batch = await this.#persist(() => reader.next(this.#call));
      if (batch) {
        const end = yield* this.#read(batch, reader, reader.number <= opened.handled);
        if (end) return end;
        continue;
      }
      if (this.#isOver) return this.#silentEnd();
      if (this.#stop.pause.aborted && !isDeleted) {
        await this.#persist(() => this.#options.api.deleteJob(this.#name, this.#call));
        isDeleted = true;
      }
      if (isDeleted || performance.now() - lookedMs >= (this.#options.lookMs ?? LOOK_MS)) {
        lookedMs = performance.now();
        yield* await this.#persist(() => this.#look());
        if (this.#isOver) continue; // read its last messages before ending
      }
      await this.#sleep(this.#options.pollMs ?? POLL_MS);
    }
  }

  /** Opens the attempt and creates its Job. Returns undefined if the run was paused before it had an attempt. */
  async #open(): Promise<OpenedAttempt | 'taken' | undefined> {
    const { store, log, baseDigest, template, api } = this.#options;
    const options = { store, log, call: this.#call };
    let opened = await takeAttempt(this.#request, options);
    if (opened === 'taken') return opened;
    if (!opened && this.#stop.pause.aborted) return undefined;
    const threads = trainerThreads(template);
    opened ??= await beginAttempt(this.#request, { baseDigest, threads }, options);
    if (opened === 'taken') return opened;
    this.#opened = opened;
    const { attempt, number } = opened;
    if (await attempt.readBatch(1, this.#call)) return opened; // it already has a pod
    const { prefix } = attempt;
    const manifest = trainerManifest({ ...this.#request, number, prefix }, this.#options);
    await api.createJob(manifest, this.#name, this.#call);
    log.info({ job: this.#request.jobId, kubernetesJob: this.#name }, 'trainer requested');
    return opened;
  }

  get #name(): string {
    return jobNameOf({ ...this.#request, number: this.#opened!.number });
  }

  /** @param isReplay another server has handled the batch; only messages that it kept in memory are repeated */
  async *#read(
    { messages, end }: MessageBatch,
    reader: MessageReader,
    isReplay: boolean,
  ): AsyncGenerator<TrainerMessage, RunEnd | undefined> {
    for (const stored of messages) {
      this.#call.signal.throwIfAborted();
      const { message } = stored;
      this.#hasPaused = message.type === 'event' && message.code === 'paused';
      if (isReplay && message.type !== 'card' && message.type !== 'trained') continue;
      if (message.type === 'event' && message.code === 'checkpoint') await this.#restore();
      const fetched = await this.#persist(() => reader.fetch(stored, this.#call));
      if (fetched) {
        yield fetched.message;
        if (message.type === 'snapshot') await this.#persist(() => fetched.removeFiles());
      } else if (message.type === 'trained') {
        throw new Error('the result in the store is missing or damaged');
      }
      if (this.#hasPaused && this.#stop.pause.aborted) return { kind: 'paused' };
    }
    if (end) return end;
    if (isReplay || messages.every(({ message }) => message.type === 'step')) return undefined;
    const change = { acknowledgedBatches: reader.number };
    const isOwn = await this.#persist(() =>
      this.#opened!.attempt.change(this.#request.fencingToken, change, this.#call),
    );
    return isOwn ? undefined : { kind: 'detached' };
  }

  /** Fetches the pod's checkpoint into this server's run folder. */
  async #restore(): Promise<void> {
    const { archive } = this.#opened!.attempt;
    for (let attempt = 1; attempt <= MAX_RESTORES; attempt++) {
      if (await this.#persist(() => archive.restore(this.#request.runDir, this.#call))) return;
    }
    this.#options.log.warn({ job: this.#request.jobId }, 'a checkpoint is not in the store');
  }

  /** Handles a Job that is over although its pods have not reported an end. */
  async #silentEnd(): Promise<RunEnd> {
    if (this.#stop.pause.aborted || this.#hasPaused) return { kind: 'paused' };
    const pods = await this.#persist(() => this.#options.api.podsOf(this.#name, this.#call));
    return { kind: 'lost', error: lossOf(pods) };
  }

  /** Reads the Job's status. Returns events about a waiting trainer, one per reason. */
  async #look(): Promise<readonly EventMessage[]> {
    const { api, log } = this.#options;
    const phase = phaseOf(await api.getJob(this.#name, this.#call));
    const events: EventMessage[] = [];
    const isNew = phase !== this.#phase;
    if (isNew && phase === 'queued') events.push(waitingEvent('its turn in the queue', 'info'));
    if (phase === 'starting') {
      const reason = waitingReason(await api.podsOf(this.#name, this.#call));
      if (reason !== undefined && reason !== this.#waitingFor) {
        this.#waitingFor = reason;
        events.push(waitingEvent(reason, 'warn'));
      }
    }
    if (isNew)
      log.info(
        { job: this.#request.jobId, kubernetesJob: this.#name, phase },
        'trainer phase changed',
      );
    this.#phase = phase;
    return events;
  }

  /** Whether no pod can write any more. */
  get #isOver(): boolean {
    return this.#phase === 'over' || this.#phase === 'gone';
  }

  /** Closes the attempt before deleting its Job, so that the pod saves nothing that is no longer wanted. */
  async #close({ kind }: RunEnd): Promise<void> {
    if (!this.#opened) return;
    const isOwn = await this.#opened.attempt.change(this.#request.fencingToken, { isOpen: false });
    if (isOwn && !this.#isOver && (kind === 'cancelled' || kind === 'lost')) {
      await this.#options.api.deleteJob(this.#name);
    }
  }

  /** Retries until the call succeeds or this server stops following the run. */
  #persist<T>(work: () => Promise<T>): Promise<T> {
    const isRetryable = (error: unknown) => {
      const isTransient =
        error instanceof ClusterUnavailable ||
        (error instanceof ServeError && error.status === 503);
      if (isTransient) this.#warn(error);
      return isTransient;
    };
    return retry(work, { ...BACKOFF, signal: this.#call.signal, isRetryable });
  }

  #warn(error: unknown): void {
    this.#options.log.warn(
      { err: error, job: this.#request.jobId },
      'the cluster or the store does not answer; trying again',
    );
  }

  /** Sleeps. A request to stop ends the sleep early. */
  async #sleep(ms: number): Promise<void> {
    const signal = this.#stop.pause.aborted ? this.#call.signal : this.#anyStop;
    await sleep(ms, { signal }).catch(() => {});
  }
}

function waitingEvent(reason: string, level: EventMessage['level']): EventMessage {
  const message = `The trainer waits in the cluster: ${reason}`;
  return { type: 'event', level, code: 'waiting', message };
}
