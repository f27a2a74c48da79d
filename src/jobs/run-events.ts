// Turns a trainer's messages into a job's events and progress, in the words and figures of OpenAI's API. Pure.
import type { EventMessage, SnapshotMetrics, StepMessage } from '../contracts/training-messages.ts';
import { type JobRecord, type JobState, messageEvent, type NewEvent, withEvents } from './job.ts';

/** Returns the event of a step: `Step 3/300: training loss=0.15, full validation loss=0.27`. */
export function stepEvent(message: StepMessage): NewEvent {
  const { step, totalSteps, loss, tokenAccuracy, validationLoss } = message;
  const validation =
    validationLoss === undefined ? '' : `, full validation loss=${validationLoss.toFixed(2)}`;
  const measured = { ...message, trainLoss: loss, trainTokenAccuracy: tokenAccuracy };
  const data = {
    ...checkpointMetrics(step, measured),
    total_steps: totalSteps,
    learning_rate: message.learningRate,
    tokens_per_second: message.tokensPerSecond,
  };
  const text = `Step ${step}/${totalSteps}: training loss=${loss.toFixed(2)}${validation}`;
  return { level: 'info', message: text, type: 'metrics', data };
}

/** Events of level `info` that clients see. */
const SHOWN_INFO_CODES: ReadonlySet<string> = new Set(['resumed', 'waiting']);

/** Returns the job event of a trainer's event, or undefined if clients do not see it or the job reports it itself. */
export function runEvent({ level, code, message, data }: EventMessage): NewEvent | undefined {
  if (level === 'info' && !SHOWN_INFO_CODES.has(code)) return undefined;
  if (code === 'failed') return undefined;
  return messageEvent(message, { level, data: { ...data, code } });
}

/** Everything that a run has reported since its job was last written. */
export interface RunReport {
  readonly steps: readonly StepMessage[];
  readonly events: readonly NewEvent[];
  readonly estimatedFinishMs: number | undefined;
}

/** Adds a report to the job, or returns undefined if it holds nothing new. Steps that the job already has are skipped. */
export function withReport(
  job: JobRecord,
  { steps, events, estimatedFinishMs }: RunReport,
  nowMs: number,
): JobState | undefined {
  const knownStep = job.progress?.step ?? 0;
  const fresh = steps.filter(({ step }) => step > knownStep);
  const all = [...events, ...fresh.map(stepEvent)];
  const last = fresh.at(-1);
  if (all.length === 0 && estimatedFinishMs === undefined) return undefined;
  const totalSteps = last?.totalSteps ?? job.progress?.totalSteps;
  const progress =
    totalSteps === undefined
      ? {}
      : {
          progress: {
            step: last?.step ?? knownStep,
            totalSteps,
            ...(estimatedFinishMs !== undefined && { estimatedFinishMs }),
            ...losses(job, fresh),
          },
        };
  const setbacks = last ? 0 : job.setbacks;
  return withEvents({ ...job, ...progress, setbacks }, all, nowMs);
}

/** Returns the newest training loss, and the step whose adapter the trainer keeps. */
function losses(
  { progress }: JobRecord,
  fresh: readonly StepMessage[],
): Pick<NonNullable<JobRecord['progress']>, 'trainLoss' | 'best'> {
  let best = progress?.best;
  for (const { step, validationLoss } of fresh) {
    if (validationLoss === undefined || (best && validationLoss >= best.validationLoss)) continue;
    best = { step, validationLoss };
  }
  const trainLoss = fresh.at(-1)?.loss ?? progress?.trainLoss;
  return { ...(trainLoss !== undefined && { trainLoss }), ...(best && { best }) };
}

/** Returns the measured figures under the keys of OpenAI's metrics. */
export function checkpointMetrics(step: number, metrics: SnapshotMetrics): Record<string, number> {
  const { trainLoss, trainTokenAccuracy, validationLoss, validationTokenAccuracy } = metrics;
  return {
    step,
    train_loss: trainLoss,
    train_mean_token_accuracy: trainTokenAccuracy,
    ...(validationLoss !== undefined && { full_valid_loss: validationLoss }),
    ...(validationTokenAccuracy !== undefined && {
      full_valid_mean_token_accuracy: validationTokenAccuracy,
    }),
  };
}
