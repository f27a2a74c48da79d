// Messages between the trainer process and the program that starts it (the command line or a job runner). Plain data.
import { z } from 'zod';
import type { EvaluationCard } from './evaluation-card.ts';
import type { FineTuningPlan } from './management-api.ts';
import type { CheckpointMetrics, StepMetrics } from './metrics.ts';
import type { StepSamples } from './step-samples.ts';
import type { ToolFormatName } from './tool-format.ts';
import type { FromWire, JobSource } from './training-fields.ts';
import type { ServiceResult, ServiceTask } from './training-service.ts';
import type { gateSchema } from './training-settings.ts';

/** A request to plan a job, or to estimate one for a model that need not exist. */
export interface PlanRequest {
  readonly job: JobSource;
  /** A number of parameters, such as `7B`, in place of the job's model. */
  readonly size: string | undefined;
  /** A config.json in place of the job's model. */
  readonly configFile: string | undefined;
  /** Memory in bytes. Absent: this machine's. */
  readonly memory: number | undefined;
  /** A job with fewer rows is rejected. Absent: it only causes a warning. */
  readonly minExamples?: number;
}

/** A request to merge an adapter into its base. */
interface MergeRequest {
  readonly model: string;
  /** A PEFT folder. */
  readonly adapter: string;
  readonly outDir: string;
  /** The type of the merged weights. Absent: the base's own. */
  readonly dtype: string | undefined;
}

/** A request to perform tasks until the parent ends the trainer. */
interface ServeRequest {
  /** The folder of the base. */
  readonly model: string;
  /** A folder for adapters that wait for their turn. */
  readonly directory: string;
  readonly threads: number | undefined;
  /** The most bytes of the trainer; passes beyond it are refused. Undefined: none is refused. */
  readonly memory: number | undefined;
}

/** Limits of the gates. A gate whose limit is absent uses its default. */
export type GateSettings = Readonly<z.infer<typeof gateSchema>>;

/** The terms on which a run starts or resumes. */
interface RunTerms {
  /** The folder in which a named run publishes its adapter. Absent: the job's, or else the store. */
  readonly adaptersDir: string | undefined;
  /** The owner, whose adapters its grader may ask. Absent: the local tenant. */
  readonly tenant?: string;
  /** The Python that runs its grader. Absent: the setting. */
  readonly pythonGraders?: string | undefined;
  /** Bytes. Absent: this machine's. */
  readonly memory?: number | undefined;
  /** The gates. Absent: the job's. False: failing gates only cause warnings. */
  readonly gate?: GateSettings | false;
}

/** A request to evaluate an existing adapter. */
export interface EvalRequest {
  /** Folder or name of the base. Absent: the base that is served by default. */
  readonly model: string | undefined;
  /** A PEFT folder, or a published adapter: `name`, `name@version` or `name:alias`. */
  readonly adapter: string;
  /** The owner of the published adapter. */
  readonly tenant: string;
  readonly store: string | undefined;
  /** A JSONL file of rows that the adapter was not trained on. Absent: the validation is skipped. */
  readonly data: string | undefined;
  /** A JSON file with the request field `response_format`. Absent: the adapter's own format, if it has one. */
  readonly responseFormatFile: string | undefined;
  /** How rows show tool calls. Absent: as the base's chat template does. */
  readonly toolFormat: ToolFormatName | undefined;
  readonly gate: GateSettings;
  readonly isJson: boolean;
}

/**
 * How a trainer shares the cores: `idle` takes only CPU time that nothing else wants, by the system's idle scheduling class if
 * there is one; `nice` is a low priority.
 */
export const TRAIN_PRIORITIES = ['idle', 'nice'] as const;
/** One of the priorities. */
export type TrainPriority = (typeof TRAIN_PRIORITIES)[number];

/** A command for the trainer. */
export type TrainerRequest =
  | ({
      readonly command: 'train';
      readonly job: JobSource;
      readonly outDir: string | undefined;
    } & RunTerms)
  | ({ readonly command: 'resume'; readonly runDir: string } & RunTerms)
  | ({ readonly command: 'plan'; readonly isJson: boolean } & PlanRequest)
  | ({ readonly command: 'merge' } & MergeRequest)
  | ({ readonly command: 'eval' } & EvalRequest)
  | ({ readonly command: 'serve' } & ServeRequest);

/**
 * The first message to the trainer: its command. An argument would not do, because arguments are limited (to 128 KiB each on
 * Linux) and visible to all users of the machine.
 */
export interface RequestMessage {
  readonly type: 'request';
  readonly request: TrainerRequest;
  /** Absent: the process keeps its priority. */
  readonly priority?: TrainPriority;
}

/** A message to the trainer: write a checkpoint after this step and exit. */
export interface PauseMessage {
  readonly type: 'pause';
}

/** A task for a trainer that serves. */
export interface TaskMessage {
  readonly type: 'task';
  /** Repeated in the reply. */
  readonly id: number;
  readonly task: ServiceTask;
}

/** A message to the trainer. */
export type ToTrainer = RequestMessage | PauseMessage | TaskMessage;

/** The record of a step. */
export type StepMessage = StepMetrics & { readonly type: 'step'; readonly totalSteps: number };

/** Samples of a step of reinforcement. A resumed run may send the same step again. */
interface SamplesMessage extends StepSamples {
  readonly type: 'samples';
}

/** A line of the run's `events.jsonl`. */
export interface EventMessage {
  readonly type: 'event';
  readonly level: 'info' | 'warn' | 'error';
  /** The kind of event (`started`, `resumed`, `checkpoint`, `paused`, …) or of warning. */
  readonly code: string;
  readonly message: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The adapter at the end of an epoch, or after a validation of rewards. A resumed run may send the same step again. */
export interface SnapshotMessage {
  readonly type: 'snapshot';
  readonly step: number;
  /** A PEFT folder. It is kept until three newer ones exist, and three with higher rewards if rewards are measured. */
  readonly directory: string;
  /** More than a checkpoint's; it keeps what it needs. */
  readonly metrics: CheckpointMetrics;
}

/** The schema of a fault, which jobs and pods store. */
export const faultSchema = z.object({
  /** `invalid_training_file`, `invalid_n_examples`, `non_finite_loss`, `gate_failed`, … */
  code: z.string(),
  message: z.string(),
  /** The job's field at fault, by its name in the API. */
  param: z.string().nullable(),
  /** The first ten faulty line numbers in the file, counted from 1. */
  lines: z.array(z.int()).readonly().exactOptional(),
});

/** The reason that a run cannot start or continue. */
export type Fault = Readonly<z.infer<typeof faultSchema>>;

/** The disk of a run is full. The run resumes from its checkpoint once there is space again. */
export const DISK_FULL_FAULT = {
  code: 'disk_full',
  message:
    'The disk of the run is full. Free some space on it; the run then resumes from its checkpoint.',
  param: null,
} as const satisfies Fault;

/** The result of a run that succeeded and passed its gates. */
export interface TrainedMessage {
  readonly type: 'trained';
  /** The adapter's PEFT folder. */
  readonly directory: string;
  /** A CSV file with the metrics of all steps. Absent: it could not be written. */
  readonly resultFile?: string;
  readonly totalSteps: number;
  /** Tokens of all steps, including the steps before a resume. */
  readonly trainedTokens: number;
}

/** The plan of a job, computed without training: the API's object without the fields of the request. */
export interface JobPlan
  extends FromWire<
    Omit<
      FineTuningPlan,
      'object' | 'model' | 'training_file' | 'validation_file' | 'hyperparameters'
    >
  > {
  /** Estimates for an idle machine, and next to a busy server. `seconds` is their geometric mean. */
  readonly secondsRange: readonly [number, number];
}

/** An example of the first batch, and the parts of it that the model is trained on: half-open ranges without gaps. */
export type PlannedExample = JobPlan['firstBatch'][number];

/** The progress of work other than steps: an import that the run needs first, reading the base, measurements. */
export interface ProgressMessage {
  readonly type: 'progress';
  readonly phase: string;
  /** Whole parts, and the share of the current one. */
  readonly done: number;
  /** 0 means unknown. */
  readonly total: number;
}

/** A message from the trainer. */
export type TrainerMessage =
  | ProgressMessage
  | StepMessage
  | EventMessage
  | SamplesMessage
  | SnapshotMessage
  /** Sent at the end, even if gates fail. */
  | { readonly type: 'card'; readonly card: EvaluationCard }
  | TrainedMessage
  /** The last message of a run that failed or cannot start. */
  | ({ readonly type: 'fault' } & Fault)
  /** Sent before the `result` of the command `plan` for a job. */
  | { readonly type: 'plan'; readonly plan: JobPlan }
  /** A progress line for the user. */
  | { readonly type: 'note'; readonly text: string }
  /** The output of the command. */
  | { readonly type: 'result'; readonly text: string }
  /** The replies to a task. */
  | { readonly type: 'done'; readonly id: number; readonly result: ServiceResult }
  | { readonly type: 'refused'; readonly id: number; readonly fault: Fault };
