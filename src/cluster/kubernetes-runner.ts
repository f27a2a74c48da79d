// Runs a server's jobs as Kubernetes Jobs, one for each attempt. Server and pod talk through the store, so that a
// server may go and another one come while the pod trains; only the server publishes. Plans stay beside the server:
// they compute no gradients, and their answer is waited for.
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { EventMessage, Fault } from '../contracts/training.ts';
import type { JobHooks, JobRunner, JobWork, RunEnd, RunningJob } from '../jobs/runner.ts';
import { type ApiClient, ClusterUnavailable } from './api-client.ts';
import { type Batch, type Told, toRunEnd } from './attempt.ts';
import { type JobPhase, lossOf, phaseOf, waitingReason } from './job-status.ts';
import { MessageReader } from './message-reader.ts';
import { beginAttempt, type OpenedAttempt, takeAttempt } from './open-attempt.ts';
import {
  jobNameOf,
  type ManifestOptions,
  type TrainerTemplate,
  trainerManifest,
  trainerThreads,
} from './trainer-manifest.ts';

export interface KubernetesRunnerOptions extends ManifestOptions {
  /** Guarded. */
  readonly store: ObjectStore;
  readonly api: ApiClient;
  readonly planner: Pick<JobRunner, 'plan'>;
  readonly template: TrainerTemplate;
  /** Of the served base: a pod that has another one refuses the job. */
  readonly baseDigest: string;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Between two questions for the next message. */
  readonly pollMs?: number;
  /** Between two looks at the Job. */
  readonly lookMs?: number;
}

/** Live curves, at 3600 small reads an hour. */
const POLL_MS = 1_000;
/** How a pod ends is in its messages as a rule; a look tells where they do not come. */
const LOOK_MS = 5_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** Of a checkpoint that the pod replaces while it is read. */
const MAX_RESTORES = 3;

export function createKubernetesRunner(options: KubernetesRunnerOptions): JobRunner {
  return {
    plan: (work, call) => options.planner.plan(work, call),
    start: (work, hooks) => new KubernetesRun(work, hooks, options),
  };
}

/** `leave`: what another server may go on with stays as it is. */
type Wish = 'pause' | 'cancel' | 'leave';

class KubernetesRun implements RunningJob {
  readonly ended: Promise<RunEnd>;
  readonly #work: JobWork;
  readonly #hooks: JobHooks;
  readonly #options: KubernetesRunnerOptions;
  /** Ends all calls: this server does not wait for the pod any more. */
  readonly #stop = new AbortController();
  #wish: Wish | undefined;
  #opened: OpenedAttempt | undefined;
  #wake: () => void = () => {};
  #phase: JobPhase | undefined;
  #waitingFor: string | undefined;
  /** Whether the last thing that a pod said is that it has ended with a checkpoint. */
  #hasPaused = false;

  constructor(work: JobWork, hooks: JobHooks, options: KubernetesRunnerOptions) {
    this.#work = work;
    this.#hooks = hooks;
    this.#options = options;
    this.ended = this.#run();
  }

  pause(): void {
    this.#wish ??= 'pause';
    this.#wake();
  }

  cancel(): void {
    this.#end('cancel');
  }

  leave(): void {
    this.#end('leave');
  }

  drop(): void {
    this.#end('leave');
  }

  #end(wish: Wish): void {
    if (this.#stop.signal.aborted) return;
    this.#wish = wish;
    this.#stop.abort(new DOMException(`asked to ${wish}`, 'AbortError'));
    this.#wake();
  }

  async #run(): Promise<RunEnd> {
    let end: RunEnd;
    try {
      end = await this.#follow();
    } catch (error) {
      end = this.#stop.signal.aborted ? this.#stopped() : this.#lost(error);
    }
    if (end.kind !== 'left') await this.#close(end).catch((error) => this.#complain(error));
    return end;
  }

  #stopped(): RunEnd {
    return { kind: this.#wish === 'cancel' ? 'cancelled' : 'left' };
  }

  #lost(error: unknown): RunEnd {
    this.#options.log.error({ err: error, job: this.#work.jobId }, 'no trainer in the cluster');
    const message = 'The cluster did not run the trainer.';
    return { kind: 'lost', error: { code: 'trainer_lost', message, param: null } };
  }

  async #follow(): Promise<RunEnd> {
    const opened = await this.#persist(() => this.#open());
    if (opened === 'taken') return { kind: 'left' };
    if (!opened) return { kind: 'paused' };
    const reader = new MessageReader(opened.attempt, `${this.#work.runDir}.heard`);
    let lookedMs = Number.NEGATIVE_INFINITY;
    let isDeleted = false;
    let isOver = false;
    for (;;) {
      const batch = await this.#persist(() => reader.next(this.#call));
      if (batch) {
        const end = await this.#hear(batch, reader, reader.number <= opened.heard);
        if (end) return end;
        continue;
      }
      if (isOver) return this.#silentEnd();
      if (this.#wish === 'pause' && !isDeleted) {
        await this.#persist(() => this.#options.api.deleteJob(this.#name, this.#call));
        isDeleted = true;
      }
      if (isDeleted || performance.now() - lookedMs >= (this.#options.lookMs ?? LOOK_MS)) {
        lookedMs = performance.now();
        isOver = await this.#persist(() => this.#look());
        if (isOver) continue; // its last words first
      }
      await this.#sleep(this.#options.pollMs ?? POLL_MS);
    }
  }

  /** Undefined: paused before there was anything. */
  async #open(): Promise<OpenedAttempt | 'taken' | undefined> {
    const { store, log, baseDigest, template, api } = this.#options;
    const options = { store, log, call: this.#call };
    let opened = await takeAttempt(this.#work, options);
    if (opened === 'taken') return opened;
    if (!opened && this.#wish === 'pause') return undefined;
    const threads = trainerThreads(template);
    opened ??= await beginAttempt(this.#work, { baseDigest, threads }, options);
    if (opened === 'taken') return opened;
    this.#opened = opened;
    const { attempt, number } = opened;
    if (await attempt.readBatch(1, this.#call)) return opened; // there was a pod
    const { prefix } = attempt;
    const manifest = trainerManifest({ ...this.#work, number, prefix }, this.#options);
    await api.createJob(manifest, this.#name, this.#call);
    log.info({ job: this.#work.jobId, kubernetesJob: this.#name }, 'trainer asked for');
    return opened;
  }

  get #name(): string {
    return jobNameOf({ ...this.#work, number: this.#opened!.number });
  }

  get #call(): { readonly signal: AbortSignal } {
    return { signal: this.#stop.signal };
  }

  /** @param isReplay a server before this one has dealt with it; what it then kept in memory is told again */
  async #hear(batch: Batch, reader: MessageReader, isReplay: boolean): Promise<RunEnd | undefined> {
    for (const told of batch.messages as unknown as readonly Told[]) {
      this.#stop.signal.throwIfAborted();
      const { message } = told;
      const isPause = message.type === 'event' && message.code === 'paused';
      this.#hasPaused = isPause;
      if (isReplay && message.type !== 'card' && message.type !== 'trained') continue;
      if (message.type === 'event' && message.code === 'checkpoint') await this.#restore();
      const heard = await this.#persist(() => reader.bring(told, this.#call));
      if (heard) {
        await this.#hooks.onMessage(heard.message);
        if (message.type === 'snapshot') await this.#persist(() => heard.forget());
      } else if (message.type === 'trained') {
        throw new Error('the result is not in the store as it was put there');
      }
      if (isPause && this.#wish === 'pause') return { kind: 'paused' };
    }
    if (batch.end) return toRunEnd(batch.end);
    const isWorthWriting =
      !isReplay && batch.messages.some(({ message }) => message.type !== 'step');
    return isWorthWriting ? this.#noteHeard(reader.number) : undefined;
  }

  async #noteHeard(heard: number): Promise<RunEnd | undefined> {
    const isOwn = await this.#persist(() =>
      this.#opened!.attempt.change(this.#work.token, { heard }, this.#call),
    );
    return isOwn ? undefined : { kind: 'left' };
  }

  /** This server's run folder becomes what the pod has saved. */
  async #restore(): Promise<void> {
    const { archive } = this.#opened!.attempt;
    for (let attempt = 1; attempt <= MAX_RESTORES; attempt++) {
      if (await this.#persist(() => archive.restore(this.#work.runDir, this.#call))) return;
    }
    this.#options.log.warn({ job: this.#work.jobId }, 'a checkpoint is not in the store');
  }

  /** The Job has ended, and what its pods have said is all heard. */
  async #silentEnd(): Promise<RunEnd> {
    if (this.#wish === 'pause' || this.#hasPaused) return { kind: 'paused' };
    const { api } = this.#options;
    const pods = await this.#persist(() => api.podsOf(this.#name, this.#call));
    const error: Fault = lossOf(pods);
    return { kind: 'lost', error };
  }

  /** Whether no pod will say anything more. */
  async #look(): Promise<boolean> {
    const { api, log } = this.#options;
    const phase = phaseOf(await api.getJob(this.#name, this.#call));
    if (phase !== this.#phase) {
      log.info({ job: this.#work.jobId, kubernetesJob: this.#name, phase }, 'trainer');
      if (phase === 'queued') await this.#tellWaiting('its turn in the queue', 'info');
    }
    this.#phase = phase;
    if (phase === 'starting') await this.#tellHindrance();
    return this.#isOver;
  }

  get #isOver(): boolean {
    return this.#phase === 'over' || this.#phase === 'gone';
  }

  /** Once for each. */
  async #tellHindrance(): Promise<void> {
    const reason = waitingReason(await this.#options.api.podsOf(this.#name, this.#call));
    if (reason === undefined || reason === this.#waitingFor) return;
    this.#waitingFor = reason;
    await this.#tellWaiting(reason, 'warn');
  }

  async #tellWaiting(what: string, level: EventMessage['level']): Promise<void> {
    const message = `The trainer waits in the cluster: ${what}`;
    await this.#hooks.onMessage({ type: 'event', level, code: 'waiting', message });
  }

  /** The pod's ticket is closed before its Job goes, so that it does not save what nobody wants. */
  async #close({ kind }: RunEnd): Promise<void> {
    if (!this.#opened) return;
    const isOwn = await this.#opened.attempt.change(this.#work.token, { isOpen: false });
    if (isOwn && !this.#isOver && (kind === 'cancelled' || kind === 'lost')) {
      await this.#options.api.deleteJob(this.#name);
    }
  }

  /** Tries until it works, or somebody does not wait for it any more. */
  async #persist<T>(work: () => Promise<T>): Promise<T> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      try {
        return await work();
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        if (!isTransient(error)) throw error;
        this.#complain(error);
      }
      await this.#sleep(pauseMs);
      this.#stop.signal.throwIfAborted();
    }
  }

  #complain(error: unknown): void {
    this.#options.log.warn({ err: error, job: this.#work.jobId }, 'the trainer is out of reach');
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stop.signal.aborted) this.#wake();
    });
  }
}

function isTransient(error: unknown): boolean {
  return (
    error instanceof ClusterUnavailable || (error instanceof ServeError && error.status === 503)
  );
}
