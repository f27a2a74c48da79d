// Turns a trainer's messages into a job's events and progress, in the wording and with the figures of OpenAI's API. Pure.
import { apiMetrics } from '../contracts/metrics.ts';
import type { EventMessage, StepMessage } from '../contracts/training-messages.ts';
import { type JobRecord, messageEvent, type NewEvent, withEvents } from './job.ts';
import { rewardText } from './reward-events.ts';

/** Returns the event of a step: `Step 3/300: training loss=0.15, full validation loss=0.27`. */
export function stepEvent(message: StepMessage): NewEvent {
  const { step, totalSteps, trainGrading, validGrading } = message;
  const data = {
    step,
    total_steps: totalSteps,
    ...apiMetrics(message),
    ...(trainGrading && { trainGrading }),
    ...(validGrading && { validGrading }),
  };
  const text = message.reward === undefined ? lossText(message) : rewardText(message);
  return { level: 'info', message: text, type: 'metrics', data };
}

function lossText({ step, totalSteps, loss, validationLoss }: StepMessage): string {
  const validation =
    validationLoss === undefined ? '' : `, full validation loss=${validationLoss.toFixed(2)}`;
  return `Step ${step}/${totalSteps}: training loss=${loss.toFixed(2)}${validation}`;
}

/** Events of level `info` that clients see. */
const SHOWN_INFO_CODES: ReadonlySet<string> = new Set(['resumed', 'waiting', 'solved']);

/** Returns the job event for a trainer's event, or undefined if clients should not see it or the job reports it itself. */
export function runEvent({ level, code, message, data }: EventMessage): NewEvent | undefined {
  if (level === 'info' && !SHOWN_INFO_CODES.has(code)) return undefined;
  if (code === 'failed') return undefined;
  return messageEvent(message, { level, data: { ...data, code } });
}

/** Everything that a run has reported since the last write. */
interface RunReport {
  readonly steps: readonly StepMessage[];
  readonly events: readonly NewEvent[];
  readonly estimatedFinishMs: number | undefined;
}

/** Adds a report to the job, or returns undefined if it contains nothing new. Skips steps that the job already has. */
export function withReport(
  job: JobRecord,
  { steps, events, estimatedFinishMs }: RunReport,
  nowMs: number,
): JobRecord | undefined {
  const lastStep = job.progress?.step ?? 0;
  const fresh = steps.filter(({ step }) => step > lastStep);
  const all = [...events, ...fresh.map(stepEvent)];
  const last = fresh.at(-1);
  if (all.length === 0 && estimatedFinishMs === undefined) return undefined;
  const { estimatedFinishMs: _, ...before }: Partial<Progress> = job.progress ?? {};
  const next = withEvents({ ...job, retries: last ? 0 : job.retries }, all, nowMs);
  const totalSteps = last?.totalSteps ?? before.totalSteps;
  if (totalSteps === undefined) return next;
  const best = fresh.reduce(lowest, before.best);
  const progress = {
    ...{ ...before, step: last?.step ?? lastStep, totalSteps },
    ...(last && { trainLoss: last.loss }),
    ...(best && { best }),
    ...(estimatedFinishMs !== undefined && { estimatedFinishMs }),
  };
  return { ...next, progress };
}

type Progress = NonNullable<JobRecord['progress']>;
type BestStep = Progress['best'];

/** Returns the step whose adapter the trainer keeps. */
function lowest(best: BestStep, { step, validationLoss = Infinity }: StepMessage): BestStep {
  return validationLoss < (best?.validationLoss ?? Infinity) ? { step, validationLoss } : best;
}
