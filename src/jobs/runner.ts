// The contract between a server's jobs and whatever runs their trainers: a child process, or a Kubernetes Job. Jobs know
// tenants, leases and the store; a runner knows processes.
import type {
  Fault,
  GateSettings,
  JobPlan,
  TrainerMessage,
} from '../contracts/training-messages.ts';

/** Keys of the trainer's job file. `model`, `data`, `validation` and `initAdapter` are absolute local paths. */
export type TrainerJob = Readonly<Record<string, unknown>>;

/** One run to start or to continue. */
export interface RunRequest {
  readonly jobId: string;
  readonly tenant: string;
  /** A local folder. A new run creates it; the files that the job reads lie beside it. */
  readonly runDir: string;
  readonly job: TrainerJob;
  readonly gate: GateSettings;
  /** Whether `runDir` holds a run to continue. */
  readonly isResume: boolean;
  /** The number of the lease that the run starts under. Later leases have higher numbers. */
  readonly token: number;
  /** Planned peak memory in bytes. */
  readonly memoryBytes?: number | undefined;
}

/**
 * The ways to ask a run to end:
 * - `pause`: the trainer writes a checkpoint after its current step and ends. The run ends as `paused`.
 * - `cancel`: the trainer ends at once and its run folder is useless. The run ends as `cancelled`.
 * - `detach`: this server stops following the run at once. A trainer that outlives the server goes on, the run ends as
 *   `detached`, and the next holder of the lease receives all of its messages again. A child process cannot outlive its
 *   server: it is killed, the run ends as `lost`, and its last checkpoint is good. Pause it first if there is time.
 */
export type StopReason = 'pause' | 'cancel' | 'detach';

/** One signal per reason. A pause may be followed by a cancel or a detach. */
export type StopSignals = Readonly<Record<StopReason, AbortSignal>>;

/** The side of the stop signals that asks. */
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

  /** Asks the run to end. Has no effect on a run that has ended, or the second time. */
  request(reason: StopReason): void {
    this.#controllers[reason].abort();
  }
}

/** How a run ended. */
export type RunEnd =
  | { readonly kind: 'succeeded' | 'paused' | 'cancelled' }
  /** The trainer goes on elsewhere. */
  | { readonly kind: 'detached' }
  /** The trainer gave the reason. A retry would fail in the same way. */
  | { readonly kind: 'failed'; readonly error: Fault }
  /** The trainer disappeared (killed, out of memory, machine gone). Its last checkpoint is good. */
  | { readonly kind: 'lost'; readonly error: Fault };

/** The last item of a run. */
export interface RunEndMessage {
  readonly type: 'end';
  readonly end: RunEnd;
}

/** How planning a job ended. */
export type PlanOutcome =
  | { readonly kind: 'planned'; readonly plan: JobPlan }
  /** The job or its files are wrong. */
  | { readonly kind: 'refused'; readonly error: Fault }
  /** The trainer disappeared. */
  | { readonly kind: 'lost'; readonly error: Fault };

/** Plans jobs and runs their trainers. */
export interface JobRunner {
  /** Whether trainers go on while this server is down. */
  readonly outlivesServer: boolean;
  /** Validates the job's files. Rejects only with the signal's reason. */
  plan(
    request: Pick<RunRequest, 'jobId' | 'tenant' | 'job'>,
    options: { readonly signal: AbortSignal },
  ): Promise<PlanOutcome>;
  /**
   * Runs a trainer and yields its messages in order, then one `end`. Does not throw. The consumer has handled a message
   * when it asks for the next one: files that a message names may go after that. A slow consumer does not stop the
   * training; it gets fewer plain steps instead. A consumer that leaves the loop early detaches.
   */
  run(request: RunRequest, stop: StopSignals): AsyncIterable<TrainerMessage | RunEndMessage>;
}
