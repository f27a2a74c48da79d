// A fine-tuning job as its record in the store, and everything that may happen to it, as pure functions from record to
// record. It knows no store, no clock and no trainer.
import { z } from 'zod';
import { ServeError } from '../common/errors.ts';
import { JOB_STATUSES, type JobStatus } from '../contracts/job-status.ts';
import type { Fault } from '../contracts/training.ts';
import {
  extensionShape,
  HYPERPARAMETERS,
  type HyperparameterField,
} from '../contracts/training-fields.ts';
import type { Unmarked } from './records.ts';

const unixMs = z.int();

const orAuto = (schema: z.ZodType<number>) => z.union([z.literal('auto'), schema]);

/** As requested; `auto` becomes a number when the job starts. */
const hyperparametersSchema = z.object(
  Object.fromEntries(HYPERPARAMETERS.map(({ field, schema }) => [field, orAuto(schema)])) as Record<
    HyperparameterField,
    ReturnType<typeof orAuto>
  >,
);

/** The API's `lorikeet` object. The table's bounds may widen but not narrow: stored jobs must stay readable. */
const settingsSchema = z.object(extensionShape());

const requestSchema = z.object({
  model: z.string(),
  /** What `model` stood for: where it names an adapter, the run starts from it. */
  initAdapter: z.object({ tenant: z.string(), name: z.string(), version: z.int() }).optional(),
  trainingFile: z.string(),
  validationFile: z.string().optional(),
  suffix: z.string().optional(),
  seed: z.int(),
  hyperparameters: hyperparametersSchema,
  settings: settingsSchema,
  metadata: z.record(z.string(), z.string()).optional(),
});

export type JobRequest = z.infer<typeof requestSchema>;
export type JobSettings = z.infer<typeof settingsSchema>;

const eventSchema = z.object({
  /** Number of the event, from 0 and without gaps. */
  seq: z.int().min(0),
  atMs: unixMs,
  level: z.enum(['info', 'warn', 'error']),
  message: z.string(),
  type: z.enum(['message', 'metrics']),
  data: z.record(z.string(), z.unknown()).optional(),
});

export type JobEvent = z.infer<typeof eventSchema>;
export type NewEvent = Pick<JobEvent, 'level' | 'message' | 'type' | 'data'>;

/** Events that were moved out of the record. */
export const eventBatchSchema = z.object({ mark: z.string(), events: z.array(eventSchema) });

const checkpointSchema = z.object({
  step: z.int(),
  version: z.int(),
  digest: z.string(),
  createdMs: unixMs,
  metrics: z.object({
    trainLoss: z.number(),
    trainTokenAccuracy: z.number(),
    validationLoss: z.number().exactOptional(),
    validationTokenAccuracy: z.number().exactOptional(),
  }),
});

export type JobCheckpoint = z.infer<typeof checkpointSchema>;

const faultSchema = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullable(),
});

const planSchema = z.looseObject({
  totalSteps: z.int(),
  seconds: z.number(),
  secondsRange: z.tuple([z.number(), z.number()]).readonly().optional(),
  memoryBytes: z.number().optional(),
});

export const jobSchema = z.object({
  schema: z.literal(1),
  mark: z.string(),
  id: z.string(),
  tenant: z.string(),
  /** The adapter's name. */
  name: z.string(),
  /** What is trained: servers of another base have no part in it. */
  base: z.object({ name: z.string(), digest: z.string() }),
  createdMs: unixMs,
  /** When a trainer was started for it the first time. */
  startedMs: unixMs.optional(),
  finishedMs: unixMs.optional(),
  status: z.enum(JOB_STATUSES),
  /** A part of `running` that nothing interrupts: the adapter is on its way to its alias. */
  isPublishing: z.boolean().default(false),
  request: requestSchema,
  plan: planSchema.optional(),
  progress: z
    .object({
      step: z.int(),
      totalSteps: z.int(),
      estimatedFinishMs: unixMs.optional(),
      /** Of the newest step; absent in records of older versions. */
      trainLoss: z.number().optional(),
      /** The step with the lowest validation loss so far, the first of equals: the trainer keeps its adapter. */
      best: z.object({ step: z.int(), validationLoss: z.number() }).optional(),
    })
    .optional(),
  /** The newest three, the oldest first. */
  checkpoints: z.array(checkpointSchema),
  /** Versions that others have replaced since: to be removed, whoever gets to it. */
  dropped: z.array(z.object({ step: z.int(), version: z.int() })).default([]),
  /** Evaluation of the result, and what the gates say of it. */
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
  /** How many leases there have been: a number is never given twice. */
  token: z.int().min(0),
  /** Who works on it: it alone may change what comes of the work. `beat` grows while it lives. */
  lease: z.object({ owner: z.string(), token: z.int(), beat: z.int() }).optional(),
  /** In a row, without a new step between them. */
  setbacks: z.int().default(0),
  eventCount: z.int(),
  /** The newest events, oldest first; those before them are in batches of their own. */
  recentEvents: z.array(eventSchema),
});

export type JobRecord = z.infer<typeof jobSchema>;
/** A state to be written. */
export type JobState = Unmarked<JobRecord>;

/** What somebody asks for, or what comes of the work → status before → status after. */
const TRANSITIONS = {
  validate: { validating_files: 'queued' },
  start: { queued: 'running', running: 'running' },
  putBack: { running: 'queued', queued: 'queued' },
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

export type JobAction = keyof typeof TRANSITIONS;
export type Wish = 'cancel' | 'pause' | 'resume';

/** Asked again in these, nothing is to be done: clients repeat requests whose answer was lost. */
const REACHED: Record<Wish, readonly JobStatus[]> = {
  cancel: ['cancelled'],
  pause: ['paused'],
  resume: ['queued', 'running'],
};

const ENDED: ReadonlySet<JobStatus> = new Set(['succeeded', 'failed', 'cancelled']);

export function hasEnded({ status }: Pick<JobRecord, 'status'>): boolean {
  return ENDED.has(status);
}

/** Undefined where the action has no place in this status. */
export function nextStatus(status: JobStatus, action: JobAction): JobStatus | undefined {
  return (TRANSITIONS[action] as Partial<Record<JobStatus, JobStatus>>)[status];
}

/** The job in the status that the action leads to; undefined where it has no place in the job's. */
export function advance(
  job: JobState,
  action: JobAction,
  { nowMs, events }: { nowMs: number; events: readonly NewEvent[] },
): JobState | undefined {
  const status = nextStatus(job.status, action);
  if (status === undefined) return undefined;
  const end = ENDED.has(status) ? { finishedMs: nowMs, isPublishing: false } : {};
  const start = status === 'running' ? { startedMs: job.startedMs ?? nowMs } : {};
  return withEvents({ ...job, status, ...start, ...end }, events, nowMs);
}

const WISH_EVENTS: Record<Wish, string> = {
  cancel: 'Fine-tuning job cancelled',
  pause: 'Fine-tuning job paused',
  resume: 'Fine-tuning job resumed, moving job to queued state',
};

/** What a client asks for; undefined where it is so already. @throws ServeError naming the state that refuses it */
export function wish(job: JobState, action: Wish, nowMs: number): JobState | undefined {
  if (REACHED[action].includes(job.status)) return undefined;
  const events = [told(WISH_EVENTS[action])];
  const next = job.isPublishing ? undefined : advance(job, action, { nowMs, events });
  if (next) return next;
  const state = job.isPublishing ? `${job.status} and being published` : job.status;
  throw new ServeError('invalid_request', `Job ${job.id} is ${state}: it cannot ${action}.`);
}

/** A line for people. */
export function told(
  message: string,
  { level = 'info', data }: { level?: NewEvent['level']; data?: NewEvent['data'] } = {},
): NewEvent {
  return { level, message, type: 'message', ...(data && { data }) };
}

export function withEvents(job: JobState, events: readonly NewEvent[], nowMs: number): JobState {
  const numbered = events.map((event, i) => ({ ...event, seq: job.eventCount + i, atMs: nowMs }));
  return {
    ...job,
    eventCount: job.eventCount + events.length,
    recentEvents: [...job.recentEvents, ...numbered],
  };
}

/** Failed, with the reason; undefined where it has ended already. */
export function withFault(job: JobState, fault: Fault, nowMs: number): JobState | undefined {
  const { code, message, param, lines } = fault;
  const event = told(message, { level: 'error', data: { code, ...(lines && { lines }) } });
  const failed = advance(job, 'fail', { nowMs, events: [event] });
  return failed && { ...failed, error: { code, message, param } };
}

/** A new lease ends every one before it. */
export function claimed(job: JobState, owner: string): JobState {
  const token = job.token + 1;
  return { ...job, token, lease: { owner, token, beat: 0 } };
}

export function released({ lease: _lease, ...job }: JobState): JobState {
  return job;
}

export function holdsLease({ lease }: Pick<JobRecord, 'lease'>, token: number): boolean {
  return lease?.token === token;
}

/** Three checkpoints of a job stay callable. */
const MAX_CHECKPOINTS = 3;

/** With a checkpoint, in the place of an earlier one of this step. */
export function withCheckpoint(job: JobState, checkpoint: JobCheckpoint): JobState {
  const others = job.checkpoints.filter(({ step }) => step !== checkpoint.step);
  const all = [...others, checkpoint].sort((a, b) => a.step - b.step);
  const checkpoints = all.slice(-MAX_CHECKPOINTS);
  const kept = new Set(checkpoints.map(({ version }) => version));
  const gone = [...job.checkpoints, checkpoint].filter(({ version }) => !kept.has(version));
  const dropped = [...job.dropped, ...gone.map(({ step, version }) => ({ step, version }))];
  return { ...job, checkpoints, dropped };
}

/** These have been removed. */
export function withoutDropped(job: JobState, removed: JobState['dropped']): JobState {
  const versions = new Set(removed.map(({ version }) => version));
  return { ...job, dropped: job.dropped.filter(({ version }) => !versions.has(version)) };
}
