// What a trainer says, as a job's events: pure. Texts and figures are those of OpenAI's API.
import type { EventMessage, SnapshotMetrics, StepMessage } from '../contracts/training.ts';
import { type JobRecord, type JobState, type NewEvent, told, withEvents } from './job.ts';

/** `Step 3/300: training loss=0.15, validation loss=0.27` */
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

/** Of what is no warning. */
const TOLD_CODES: ReadonlySet<string> = new Set(['resumed', 'waiting']);

/** Undefined: the job says so itself. */
export function runEvent({ level, code, message, data }: EventMessage): NewEvent | undefined {
  if (level === 'info' && !TOLD_CODES.has(code)) return undefined;
  if (code === 'failed') return undefined;
  return told(message, { level, data: { ...data, code } });
}

/** What a run has told since it was last written down; steps that were told before, by whoever, are not told again. */
export function withTold(
  job: JobRecord,
  { steps, events }: { steps: readonly StepMessage[]; events: readonly NewEvent[] },
  { nowMs, estimatedFinishMs }: { nowMs: number; estimatedFinishMs: number | undefined },
): JobState | undefined {
  const toldStep = job.progress?.step ?? 0;
  const fresh = steps.filter(({ step }) => step > toldStep);
  const all = [...events, ...fresh.map(stepEvent)];
  const last = fresh.at(-1);
  if (all.length === 0 && estimatedFinishMs === undefined) return undefined;
  const totalSteps = last?.totalSteps ?? job.progress?.totalSteps;
  const progress =
    totalSteps === undefined
      ? {}
      : {
          progress: {
            step: last?.step ?? toldStep,
            totalSteps,
            ...(estimatedFinishMs !== undefined && { estimatedFinishMs }),
            ...losses(job, fresh),
          },
        };
  const setbacks = last ? 0 : job.setbacks;
  return withEvents({ ...job, ...progress, setbacks }, all, nowMs);
}

/** The newest training loss, and the step whose adapter the trainer keeps. */
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

/** The keys of OpenAI's metrics that were measured. */
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
