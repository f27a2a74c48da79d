// Who is told how a run goes on. Says what there is to tell; knows nobody that listens.

export type RunPhase = 'prepare' | 'checkpoint' | 'archive' | 'publish';

export interface RunObserver {
  /** The trainer runs: an epoch begins. */
  trainingBegan(): void;
  /** Nothing of it is left to do; the next one has begun already. */
  epochEnded(step: number): void;
  /** Does it, whatever becomes of it. */
  during<T>(phase: RunPhase, act: () => Promise<T>): Promise<T>;
  /** This server has no part in the run any more. `status`: the job's; `error`: the code of what ended it. */
  ended(status: string, error: string | undefined): void;
}

/** Where nobody listens. */
export const UNOBSERVED: RunObserver = {
  trainingBegan() {},
  epochEnded() {},
  during: (_phase, act) => act(),
  ended() {},
};
