// What the command line and the trainer's process say to each other. Plain data.

/** A job file and what flags say over it, keys as in the file. */
export interface JobSource {
  readonly file: string | undefined;
  readonly overrides: Readonly<Record<string, unknown>>;
}

/** What a plan is for: a job, or a model that need not be there. */
export interface PlanRequest {
  readonly job: JobSource;
  /** Parameters of a model, such as `7B`; instead of the job's model. */
  readonly size: string | undefined;
  /** A config.json; instead of the job's model. */
  readonly configFile: string | undefined;
  /** Bytes; absent: this machine's. */
  readonly memory: number | undefined;
}

export interface MergeRequest {
  readonly model: string;
  /** A PEFT folder. */
  readonly adapter: string;
  readonly outDir: string;
  /** As asked for; absent: the base's own. */
  readonly dtype: string | undefined;
}

/** Where a run that has a name publishes its adapter; absent: where the server looks by default. */
export interface Publishing {
  readonly adaptersDir: string | undefined;
}

export type TrainerRequest =
  | ({
      readonly command: 'train';
      readonly job: JobSource;
      readonly outDir: string | undefined;
    } & Publishing)
  | ({ readonly command: 'resume'; readonly runDir: string } & Publishing)
  | ({ readonly command: 'plan'; readonly isJson: boolean } & PlanRequest)
  | ({ readonly command: 'merge' } & MergeRequest);

/** To the trainer: end after this step, with a checkpoint. */
export interface PauseMessage {
  readonly type: 'pause';
}

export interface StepMessage {
  readonly type: 'step';
  /** From 1. */
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly tokensPerSecond: number;
  readonly validationLoss?: number;
}

/** From the trainer. */
export type TrainerMessage =
  | StepMessage
  /** For the reader, as it happens. */
  | { readonly type: 'note'; readonly text: string }
  /** What the command was run for. */
  | { readonly type: 'result'; readonly text: string };
