// What those who start the trainer's process (the command line, a server's job runner) and that process say to each
// other. Plain data.
import type { z } from 'zod';
import type { gateSchema } from './training-settings.ts';

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
  /** A job with fewer rows is refused; absent: it is warned. */
  readonly minExamples?: number;
}

export interface MergeRequest {
  readonly model: string;
  /** A PEFT folder. */
  readonly adapter: string;
  readonly outDir: string;
  /** As asked for; absent: the base's own. */
  readonly dtype: string | undefined;
}

/** Into which folder a run that has a name publishes its adapter; absent: as its job says, else into the store. */
export interface Publishing {
  readonly adaptersDir: string | undefined;
}

/** Limits of the gates. A gate whose limit is absent uses its default. */
export type GateSettings = Readonly<z.infer<typeof gateSchema>>;

/** Absent: as the job says. False: the adapter is measured all the same, and what it does not pass is warned of. */
interface Gated {
  readonly gate?: GateSettings | false;
}

/** The evaluation card of an adapter that is there. */
export interface EvalRequest {
  /** Folder or name; absent: the one that is served by default. */
  readonly model: string | undefined;
  /** A PEFT folder, or a published adapter: `name`, `name@version` or `name:alias`. */
  readonly adapter: string;
  /** Whose published adapter, and where. */
  readonly tenant: string;
  readonly store: string | undefined;
  /** JSONL rows that it has not learned from; absent: it is measured without. */
  readonly data: string | undefined;
  readonly gate: GateSettings;
  readonly isJson: boolean;
}

export type TrainerRequest =
  | ({
      readonly command: 'train';
      readonly job: JobSource;
      readonly outDir: string | undefined;
    } & Publishing &
      Gated)
  | ({ readonly command: 'resume'; readonly runDir: string } & Publishing & Gated)
  | ({ readonly command: 'plan'; readonly isJson: boolean } & PlanRequest)
  | ({ readonly command: 'merge' } & MergeRequest)
  | ({ readonly command: 'eval' } & EvalRequest);

/**
 * To the trainer, first of all: what it is to do. It goes through the channel, because arguments have a limit (128 KiB
 * each on Linux) and are shown to every user of the machine.
 */
export interface RequestMessage {
  readonly type: 'request';
  readonly request: TrainerRequest;
}

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
  /** Share of trained tokens that the largest logit got right. */
  readonly tokenAccuracy: number;
  /** Of the whole split; where this step was followed by a validation. */
  readonly validationLoss?: number;
  readonly validationTokenAccuracy?: number;
}

/** A line of the run's `events.jsonl`, as it is written. */
export interface EventMessage {
  readonly type: 'event';
  readonly level: 'info' | 'warn' | 'error';
  /** What happened (`started`, `resumed`, `checkpoint`, `paused`, …); of a warning, which one. */
  readonly code: string;
  readonly message: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The adapter as it is after a step, at the end of each epoch; a run that goes on tells its steps again. */
export interface SnapshotMessage {
  readonly type: 'snapshot';
  readonly step: number;
  /** A PEFT folder that stays as it is until three newer ones are there. */
  readonly directory: string;
  readonly metrics: SnapshotMetrics;
}

/** What was measured of a step: nats per trained token and shares of right tokens. */
export interface SnapshotMetrics {
  readonly trainLoss: number;
  readonly trainTokenAccuracy: number;
  readonly validationLoss?: number;
  readonly validationTokenAccuracy?: number;
}

export interface GateVerdict {
  /** `finite`, `weights`, `applied`, `validation`, `generation` or `forgetting`. */
  readonly gate: string;
  readonly passed: boolean;
  readonly value: number;
  /** How the value has to stand to the limit. */
  readonly relation: '<' | '<=' | '>';
  readonly limit: number;
}

/** What is known of an adapter before it is published: figures in a manifest's spelling, and whether it may be. */
export interface EvaluationCard {
  readonly gates: readonly GateVerdict[];
  /** Gates that there was nothing to measure with. */
  readonly skipped: readonly { readonly gate: string; readonly reason: string }[];
  readonly [figure: string]: unknown;
}

/** Why a run cannot begin or go on. */
export interface Fault {
  /** `invalid_training_file`, `invalid_n_examples`, `non_finite_loss`, `gate_failed`, … */
  readonly code: string;
  readonly message: string;
  /** The job's field at fault, as the API calls it. */
  readonly param: string | null;
  /** Of the file, from 1; the first ten. */
  readonly lines?: readonly number[];
}

/** The run's disk is full: it goes on from its checkpoint once there is room. */
export const DISK_FULL_FAULT = {
  code: 'disk_full',
  message: 'The disk of the run is full.',
  param: null,
} as const satisfies Fault;

/** What the run left, after it has succeeded and passed its gates. */
export interface TrainedMessage {
  readonly type: 'trained';
  /** A PEFT folder. */
  readonly directory: string;
  /** The result table. */
  readonly resultFile: string;
  readonly totalSteps: number;
  /** Tokens of all steps, those before a resume too. */
  readonly trainedTokens: number;
}

/** An example of the first batch: its text, and which parts of it are learned. */
export interface PlannedExample {
  readonly text: string;
  /** Half-open, in UTF-16 units of the text, in order and without gaps. */
  readonly spans: readonly {
    readonly start: number;
    readonly end: number;
    readonly isLearned: boolean;
  }[];
}

/** What a job will do, before it begins. */
export interface JobPlan {
  readonly method: string;
  readonly examples: number;
  readonly validationExamples: number;
  /** Of one epoch. */
  readonly tokens: number;
  readonly trainedTokens: number;
  /** Share of the tokens that nothing is learned of. */
  readonly maskedShare: number;
  /** Examples that lose their end. */
  readonly truncated: number;
  readonly maxLength: number;
  readonly duplicates: number;
  readonly trainedParameters: number;
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  /** The peak. */
  readonly learningRate: number;
  readonly memoryBytes: number;
  readonly seconds: number;
  /** On a machine that does nothing else, and beside a server at work. */
  readonly secondsRange: readonly [number, number];
  readonly warnings: readonly { readonly code: string; readonly message: string }[];
  readonly firstBatch: readonly PlannedExample[];
}

/** The progress of an import that the trainer has to make first. */
export interface ProgressMessage {
  readonly type: 'progress';
  readonly phase: string;
  readonly done: number;
  /** 0 means unknown. */
  readonly total: number;
}

/** From the trainer. */
export type TrainerMessage =
  | ProgressMessage
  | StepMessage
  | EventMessage
  | SnapshotMessage
  /** At the end, whatever the gates say. */
  | { readonly type: 'card'; readonly card: EvaluationCard }
  | TrainedMessage
  /** The last message of a run that failed or cannot begin. */
  | ({ readonly type: 'fault' } & Fault)
  /** Of a job, before the `result` of the command `plan`. */
  | { readonly type: 'plan'; readonly plan: JobPlan }
  /** For the reader, as it happens. */
  | { readonly type: 'note'; readonly text: string }
  /** What the command was run for. */
  | { readonly type: 'result'; readonly text: string };
