// The contract between a server's jobs and the runner of their trainers: child processes, or Kubernetes Jobs. The job side
// handles tenants, leases and the store; a runner handles processes.
import type {
  Fault,
  GateSettings,
  JobPlan,
  TrainerMessage,
} from '../contracts/training-messages.ts';

/** The keys of the trainer's job file. `model`, `data`, `validation` and `initAdapter` are absolute local paths. */
export type TrainerJob = Readonly<Record<string, unknown>>;

/** One run to start or resume. */
export interface RunRequest {
  readonly jobId: string;
  readonly tenant: string;
  /** A local folder, which a new run creates. The parent folder contains the files that the job reads. */
  readonly runDir: string;
  readonly job: TrainerJob;
  readonly gate: GateSettings;
  /** Whether `runDir` contains a run to resume. */
  readonly isResume: boolean;
  /** The fencing token of the lease that the run starts under. Later leases have larger ones. */
  readonly fencingToken: number;
  /** Planned peak memory in bytes. */
  readonly memoryBytes?: number | undefined;
}

/**
 * The ways to ask a run to end:
 * - `pause`: the trainer writes a checkpoint after its current step and ends. The run ends as `paused`.
 * - `cancel`: the trainer ends immediately, and its run folder is useless. The run ends as `cancelled`.
 * - `detach`: this server stops following the run immediately. If the trainer outlives the server, it keeps running, the run
 *   ends as `detached`, and the next holder of the lease receives all its messages again. A child process cannot outlive its
 *   server: it is killed, the run ends as `lost`, and its last checkpoint is good. Pause it first if there is time.
 */
type StopReason = 'pause' | 'cancel' | 'detach';

/** One signal per reason. A pause can be followed by a cancel or a detach. */
export type StopSignals = Readonly<Record<StopReason, AbortSignal>>;

/** Sends the stop signals. */
export class RunStop {
  readonly #controllers = {
    pause: new AbortController(),
    cancel: new AbortController(),
    detach: new AbortController(),
  };
  readonly signals: StopSignals = {
    pause: this.#controllers.pause.signal,
    cancel: this.#controllers.cancel.signal,
    detach: this.#controllers.detach.signal,
  };

  /** Asks the run to end. Has no effect if the run has ended or was already asked. */
  request(reason: StopReason): void {
    this.#controllers[reason].abort();
  }
}

/** How a run ended. */
export type RunEnd =
  | { readonly kind: 'succeeded' | 'paused' | 'cancelled' }
  /** The trainer keeps running elsewhere. */
  | { readonly kind: 'detached' }
  /** The trainer reported the reason. A retry would fail in the same way. */
  | { readonly kind: 'failed'; readonly error: Fault }
  /** The trainer disappeared (killed, out of memory, machine gone). Its last checkpoint is good. */
  | { readonly kind: 'lost'; readonly error: Fault };

/** The last item of a run. */
export interface RunEndMessage {
  readonly type: 'end';
  readonly end: RunEnd;
}

/** How the planning of a job ended. */
export type PlanOutcome =
  | { readonly kind: 'planned'; readonly plan: JobPlan }
  /** The job or its files are wrong. */
  | { readonly kind: 'refused'; readonly error: Fault }
  /** The trainer disappeared. */
  | { readonly kind: 'lost'; readonly error: Fault };

/** Plans jobs and runs their trainers. */
export interface JobRunner {
  /** Whether trainers keep running while this server is down. */
  readonly outlivesServer: boolean;
  /** Validates the job's files. Rejects only with the signal's reason. */
  plan(
    request: Pick<RunRequest, 'jobId' | 'tenant' | 'job'>,
    options: { readonly signal: AbortSignal },
  ): Promise<PlanOutcome>;
  /**
   * Runs a trainer and yields its messages in order, then one `end`. Does not throw. Asking for the next message means that the
   * previous one was handled: the files that it names may then disappear. A slow consumer does not block the training; it
   * receives fewer plain steps. Leaving the loop early detaches.
   */
  run(request: RunRequest, stop: StopSignals): AsyncIterable<TrainerMessage | RunEndMessage>;
}
