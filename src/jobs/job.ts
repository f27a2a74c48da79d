// A fine-tuning job as it is stored, and everything that can happen to it, as pure functions from state to state. The clock is
// an argument.
import { z } from 'zod';
import { ServeError } from '../common/errors.ts';
import { JOB_STATUSES, type JobStatus } from '../contracts/job-status.ts';
import { keptSteps } from '../contracts/kept-checkpoints.ts';
import { checkpointMetricsSchema } from '../contracts/metrics.ts';
import { OBJECTIVES } from '../contracts/preference-settings.ts';
import { extensionShape, hyperparameterShape, orAbsent } from '../contracts/training-fields.ts';
import { type Fault, faultSchema } from '../contracts/training-messages.ts';

const unixMs = z.int();

/** Requested hyperparameters, for the job's objective. `auto` becomes a number when the job starts. */
const hyperparametersSchema = z.object(
  hyperparameterShape('field', (row) => orAbsent(row).exactOptional()),
);

const jsonObject = z.record(z.string(), z.unknown());

/** The API's `lorikeet` object. The table's bounds may widen but never narrow, because stored jobs must stay readable. */
const settingsSchema = z.object(extensionShape());

const requestSchema = z.object({
  model: z.string(),
  /** The base's name in the request, often an alias. The fine-tuned model's name contains it. Absent: the base's own name. */
  baseAlias: z.string().exactOptional(),
  /** The adapter that `model` named, which the run starts from. */
  initAdapter: z.object({ tenant: z.string(), name: z.string(), version: z.int() }).optional(),
  trainingFile: z.string(),
  validationFile: z.string().optional(),
  suffix: z.string().optional(),
  seed: z.int(),
  /** Absent: supervised. */
  objective: z.enum(OBJECTIVES).exactOptional(),
  hyperparameters: hyperparametersSchema,
  /** The grader of reinforcement, as the client sent it. */
  grader: jsonObject.exactOptional(),
  responseFormat: jsonObject.exactOptional(),
  settings: settingsSchema,
  metadata: z.record(z.string(), z.string()).optional(),
});

/** A request to create a job, with all defaults filled in. */
export type JobRequest = z.infer<typeof requestSchema>;
/** The settings of a request. */
export type JobSettings = z.infer<typeof settingsSchema>;

const eventSchema = z.object({
  /** Counts from 0 without gaps. */
  seq: z.int().min(0),
  atMs: unixMs,
  level: z.enum(['info', 'warn', 'error']),
  message: z.string(),
  type: z.enum(['message', 'metrics']),
  data: z.record(z.string(), z.unknown()).optional(),
});

/** An event of a job. */
export type JobEvent = z.infer<typeof eventSchema>;
/** An event that has no number and no time yet. */
export type NewEvent = Pick<JobEvent, 'level' | 'message' | 'type' | 'data'>;

/** Older events, moved out of the record. */
export const eventBatchSchema = z.object({ events: z.array(eventSchema) });

const checkpointSchema = z.object({
  step: z.int(),
  version: z.int(),
  digest: z.string(),
  createdMs: unixMs,
  metrics: checkpointMetricsSchema,
});

/** A published checkpoint of a job. */
export type JobCheckpoint = z.infer<typeof checkpointSchema>;

const planSchema = z.looseObject({
  totalSteps: z.int(),
  seconds: z.number(),
  secondsRange: z.tuple([z.number(), z.number()]).readonly().optional(),
  memoryBytes: z.number().optional(),
  stepsPerEpoch: z.int().optional(),
  validationExamples: z.int().optional(),
  /** The number of classes, if the job trains a classifier. */
  classCount: z.int().optional(),
});

/** The stored record. Its keys are a file format: old records must stay readable. */
export const jobSchema = z.object({
  schema: z.literal(1),
  id: z.string(),
  tenant: z.string(),
  /** The adapter's name. */
  name: z.string(),
  /** Only servers with this base work on the job. */
  base: z.object({ name: z.string(), digest: z.string() }),
  createdMs: unixMs,
  /** When a trainer first started. */
  startedMs: unixMs.optional(),
  finishedMs: unixMs.optional(),
  status: z.enum(JOB_STATUSES),
  /** Whether the result is being published. Clients cannot interrupt this part of `running`. */
  isPublishing: z.boolean().default(false),
  request: requestSchema,
  plan: planSchema.optional(),
  progress: z
    .object({
      step: z.int(),
      totalSteps: z.int(),
      estimatedFinishMs: unixMs.optional(),
      /** The latest step's loss. Absent in records of older versions. */
      trainLoss: z.number().optional(),
      /** The first step with the lowest validation loss so far, whose adapter the trainer keeps. */
      best: z.object({ step: z.int(), validationLoss: z.number() }).optional(),
    })
    .optional(),
  /** The kept ones, oldest first. */
  checkpoints: z.array(checkpointSchema),
  /** Versions of replaced checkpoints that have not been removed yet. */
  dropped: z.array(z.object({ step: z.int(), version: z.int() })).default([]),
  /** The evaluation of the result, with each gate's verdict. */
  card: z.record(z.string(), z.unknown()).optional(),
  error: faultSchema.optional(),
  result: z
    .object({
      version: z.int(),
      digest: z.string(),
      trainedTokens: z.int(),
      resultFiles: z.array(z.string()),
    })
    .optional(),
  /** The number of the newest lease. Numbers are never reused. */
  token: z.int().min(0),
  /** The server that works on the job, the only one that reports progress. It increments `beat` as long as it is alive. */
  lease: z.object({ owner: z.string(), token: z.int(), beat: z.int() }).optional(),
  /** Consecutive interruptions without a new step between them. */
  retries: z.int().default(0),
  eventCount: z.int(),
  /** The newest events, oldest first. Older events are in batches. */
  recentEvents: z.array(eventSchema),
});

/** A job in the store. */
export type JobRecord = z.infer<typeof jobSchema>;

/** Action → status before → status after. Both clients and workers take actions. */
const TRANSITIONS = {
  validate: { validating_files: 'queued' },
  start: { queued: 'running', running: 'running' },
  requeue: { running: 'queued', queued: 'queued' },
  pause: { queued: 'paused', running: 'paused' },
  resume: { paused: 'queued' },
  cancel: {
    validating_files: 'cancelled',
    queued: 'cancelled',
    running: 'cancelled',
    paused: 'cancelled',
  },
  fail: { validating_files: 'failed', queued: 'failed', running: 'failed', paused: 'failed' },
  succeed: { running: 'succeeded' },
} as const satisfies Record<string, Partial<Record<JobStatus, JobStatus>>>;

/** Anything that changes a job's status. */
export type JobAction = keyof typeof TRANSITIONS;
/** The actions of clients. */
export type ClientAction = 'cancel' | 'pause' | 'resume';

/** Statuses in which an action has nothing left to do. Clients repeat a request if its response was lost. */
const DONE_IN: Record<ClientAction, readonly JobStatus[]> = {
  cancel: ['cancelled'],
  pause: ['paused'],
  resume: ['queued', 'running'],
};

const ENDED: ReadonlySet<JobStatus> = new Set(['succeeded', 'failed', 'cancelled']);

/** Whether the job is over. */
export function hasEnded({ status }: Pick<JobRecord, 'status'>): boolean {
  return ENDED.has(status);
}

/** Returns the status after an action, or undefined if the action is not possible. */
export function nextStatus(status: JobStatus, action: JobAction): JobStatus | undefined {
  return (TRANSITIONS[action] as Partial<Record<JobStatus, JobStatus>>)[status];
}

/** Returns the job after an action, or undefined if the action is not possible in the job's status. */
export function advance(
  job: JobRecord,
  action: JobAction,
  { nowMs, events }: { nowMs: number; events: readonly NewEvent[] },
): JobRecord | undefined {
  const status = nextStatus(job.status, action);
  if (status === undefined) return undefined;
  const end = ENDED.has(status) ? { finishedMs: nowMs, isPublishing: false } : {};
  const start = status === 'running' ? { startedMs: job.startedMs ?? nowMs } : {};
  return withEvents({ ...job, status, ...start, ...end }, events, nowMs);
}

const ACTION_EVENTS: Record<ClientAction, string> = {
  cancel: 'Fine-tuning job cancelled',
  pause: 'Fine-tuning job paused',
  resume: 'Fine-tuning job resumed, moving job to queued state',
};

/**
 * Returns the job after a client's action, or undefined if nothing is left to do. Throws `ServeError` (400) if the action is
 * not possible.
 */
export function applyClientAction(
  job: JobRecord,
  action: ClientAction,
  nowMs: number,
): JobRecord | undefined {
  if (DONE_IN[action].includes(job.status)) return undefined;
  const events = [messageEvent(ACTION_EVENTS[action])];
  const next = job.isPublishing ? undefined : advance(job, action, { nowMs, events });
  if (next) return next;
  const state = job.isPublishing ? `${job.status} and being published` : job.status;
  throw new ServeError('invalid_request', `Job ${job.id} is ${state}, so it cannot ${action}.`);
}

/** Returns an event that only carries a message. */
export function messageEvent(
  message: string,
  { level = 'info', data }: { level?: NewEvent['level']; data?: NewEvent['data'] } = {},
): NewEvent {
  return { level, message, type: 'message', ...(data && { data }) };
}

/** Appends events to the job and numbers them. */
export function withEvents(job: JobRecord, events: readonly NewEvent[], nowMs: number): JobRecord {
  const numbered = events.map((event, i) => ({ ...event, seq: job.eventCount + i, atMs: nowMs }));
  return {
    ...job,
    eventCount: job.eventCount + events.length,
    recentEvents: [...job.recentEvents, ...numbered],
  };
}

/** Returns the failed job with its reason, or undefined if the job has ended already. */
export function withFault(job: JobRecord, fault: Fault, nowMs: number): JobRecord | undefined {
  const { code, message, param, lines } = fault;
  const event = messageEvent(message, { level: 'error', data: { code, ...(lines && { lines }) } });
  const failed = advance(job, 'fail', { nowMs, events: [event] });
  return failed && { ...failed, error: { code, message, param } };
}

type Measured = Pick<JobCheckpoint, 'step'> & {
  readonly metrics: Pick<JobCheckpoint['metrics'], 'eval_reward'>;
};

const toKept = ({ step, metrics }: Measured) => ({ step, reward: metrics.eval_reward });

/** Whether a checkpoint is new, and would be kept. */
export function isWanted({ checkpoints }: JobRecord, checkpoint: Measured): boolean {
  if (checkpoints.some(({ step }) => step === checkpoint.step)) return false;
  return keptSteps([...checkpoints, checkpoint].map(toKept)).includes(checkpoint.step);
}

/** Adds a checkpoint. It replaces an earlier checkpoint of the same step. */
export function withCheckpoint(job: JobRecord, checkpoint: JobCheckpoint): JobRecord {
  const others = job.checkpoints.filter(({ step }) => step !== checkpoint.step);
  const all = [...others, checkpoint].sort((a, b) => a.step - b.step);
  const kept = new Set(keptSteps(all.map(toKept)));
  const checkpoints = all.filter(({ step }) => kept.has(step));
  const versions = new Set(checkpoints.map(({ version }) => version));
  const replaced = [...job.checkpoints, checkpoint].filter(({ version }) => !versions.has(version));
  const dropped = [...job.dropped, ...replaced.map(({ step, version }) => ({ step, version }))];
  return { ...job, checkpoints, dropped };
}

/** Forgets dropped versions after they were removed. */
export function withoutDropped(job: JobRecord, removed: JobRecord['dropped']): JobRecord {
  const versions = new Set(removed.map(({ version }) => version));
  return { ...job, dropped: job.dropped.filter(({ version }) => !versions.has(version)) };
}
