// Who runs the trainer for a server's jobs: a child process, or a job of a cluster. The contract between the service,
// which knows jobs, tenants and the store, and a runner, which knows processes. Plain data.
import type { Fault, GateSettings, JobPlan, TrainerMessage } from '../contracts/training.ts';

/** Keys of the trainer's job file. `model`, `data`, `validation` and `initAdapter` are absolute local paths. */
export type TrainerJob = Readonly<Record<string, unknown>>;

export interface JobWork {
  readonly jobId: string;
  readonly tenant: string;
  /** Local. A new run makes it; what the job reads lies beside it. A runner elsewhere mounts its parent's parent. */
  readonly runDir: string;
  readonly job: TrainerJob;
  readonly gate: GateSettings;
  /** Whether `runDir` holds a run to go on with. */
  readonly isResume: boolean;
  /** Of the lease that the run is begun under: a later one is higher. */
  readonly token: number;
  /** At the run's peak, as it was planned. */
  readonly memoryBytes?: number | undefined;
}

export interface JobHooks {
  /** In order: a runner gives the next message when this has resolved. Does not reject. */
  onMessage(message: TrainerMessage): void | Promise<void>;
}

/** How a run ended, told after its last message has been handled. */
export type RunEnd =
  | { readonly kind: 'succeeded' | 'paused' | 'cancelled' }
  /** It has not: it goes on elsewhere, and who starts the job next hears all of it again. */
  | { readonly kind: 'left' }
  /** The trainer said why: trying again would end the same way. */
  | { readonly kind: 'failed'; readonly error: Fault }
  /** The trainer is gone without a word (killed, out of memory, its machine): its checkpoint is good. */
  | { readonly kind: 'lost'; readonly error: Fault };

export interface RunningJob {
  /** Ends after this step with a checkpoint: `paused`. */
  pause(): void;
  /** Ends at once: `cancelled`. What the run folder holds is of no use any more. */
  cancel(): void;
  /** For a server that ends: a process of its own ends as by `pause`, one elsewhere is left at work: `left`. */
  leave(): void;
  /** For a server that the job was taken from: a process of its own ends at once, all else stays as it is. */
  drop(): void;
  /** Does not reject. */
  readonly ended: Promise<RunEnd>;
}

export type PlanOutcome =
  | { readonly kind: 'planned'; readonly plan: JobPlan }
  /** The job or its files are at fault. */
  | { readonly kind: 'refused'; readonly error: Fault }
  | { readonly kind: 'lost'; readonly error: Fault };

export interface JobRunner {
  /** Validates the job's files. Rejects with the signal's reason only. */
  plan(
    work: Pick<JobWork, 'jobId' | 'tenant' | 'job'>,
    options: { readonly signal: AbortSignal },
  ): Promise<PlanOutcome>;
  start(work: JobWork, hooks: JobHooks): RunningJob;
}

/** Where a run's newest checkpoint is kept for whoever goes on with it, on this machine or another. */
export interface RunArchive {
  /** What a run needs to go on; while it is at work, too. */
  save(runDir: string, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Makes `runDir`, where there is something to go on with: whether there was. */
  restore(runDir: string, options: { readonly signal: AbortSignal }): Promise<boolean>;
  /** When nobody will go on with it. */
  remove(): Promise<void>;
}
