// Short facts about a fine-tuning job, as several pages show them. Pure: requests nothing.
import type { EvaluationCard } from '../../contracts/evaluation-card.ts';
import type { FineTuningJob, JobHyperparameters } from '../../contracts/fine-tuning-api.ts';
import type { PageMetric } from '../../contracts/metrics.ts';
import { durationRange, figure, percent } from '../format.ts';
import { FORM_FIELDS } from '../tables.ts';

const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

/** Returns a job's status in one word. */
export function statusWord({ status }: FineTuningJob): string {
  return status === 'validating_files' ? 'validating' : status;
}

/** Whether a job is over. */
export function isFinished({ status }: FineTuningJob): boolean {
  return ENDED.has(status);
}

/** Returns the name that the user gave, else the id. */
export function jobName({ user_provided_suffix: suffix, id }: FineTuningJob): string {
  return suffix ?? id;
}

const METHODS = { supervised: 'Supervised', dpo: 'DPO', reinforcement: 'Reinforcement' };

/** A fact of a job with its name. */
export type JobFact = readonly [name: string, read: (job: FineTuningJob) => unknown];

/** A job's base model and settings, as the comparison and the job's page name them. */
export const SETTINGS: readonly JobFact[] = [
  ['Base model', ({ model }) => model],
  ['Method', ({ method }) => METHODS[method.type]],
  ['Grader', ({ method }) => method.reinforcement?.grader['type']],
  ...FORM_FIELDS.map((field): JobFact => [field.label, (job) => settingOf(job, field)]),
  ['Classes', classCountOf],
  [
    'Held out',
    ({ lorikeet }) =>
      lorikeet.validation_split && `${percent(lorikeet.validation_split)} of the file`,
  ],
];

function settingOf(job: FineTuningJob, { id, parent }: (typeof FORM_FIELDS)[number]): unknown {
  const parents: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    hyperparameters: hyperparametersOf(job),
    lorikeet: job.lorikeet,
    job: { seed: job.seed },
  };
  return parents[parent]?.[id];
}

/** Whether a job learns from pairs of outputs. Its accuracies then count pairs instead of tokens. */
export function learnsPairs({ method }: FineTuningJob): boolean {
  return method.type === 'dpo';
}

/** Whether a job learns from rewards. It has no accuracy, and its loss says little. */
export function learnsRewards({ method }: FineTuningJob): boolean {
  return method.type === 'reinforcement';
}

/** Returns the mean reward on the validation rows; undefined if there was no validation. */
export function rewardOf(job: FineTuningJob): unknown {
  return evaluationOf(job)['reward'] ?? job.lorikeet.valid_reward;
}

/** Returns a job's hyperparameters, which depend on its method. */
export function hyperparametersOf({ method }: FineTuningJob): Partial<JobHyperparameters> {
  return method[method.type]?.hyperparameters ?? {};
}

/** Returns a job's evaluation card; empty until it is evaluated. */
export function evaluationOf({ lorikeet }: FineTuningJob): Partial<EvaluationCard> {
  return lorikeet.evaluation ?? {};
}

/** Returns the validation accuracy of the base and the adapter: of classes for a classifier, of pairs for DPO, else of tokens. */
export function accuracyOf(card: Readonly<Record<string, unknown>>) {
  return {
    base: card['base_accuracy'] ?? card['base_validation_token_accuracy'],
    adapter: card['accuracy'] ?? card['validation_token_accuracy'],
  };
}

/** Names the accuracy that a job measures. */
export function accuracyName(job: FineTuningJob): string {
  if (classCountOf(job) !== undefined) return 'Accuracy';
  return learnsPairs(job) ? 'Pair accuracy' : 'Token accuracy';
}

/** Returns the number of classes; undefined if the job does not train a classifier. */
export function classCountOf({ lorikeet }: FineTuningJob): number | undefined {
  return lorikeet.num_classes;
}

/** Formats a number; anything else is shown as a dash. */
export function formatted(value: unknown, format: (value: number) => string): string {
  return typeof value === 'number' ? format(value) : '–';
}

/** Returns how to write a metric. */
export function formatOf(metric: PageMetric | undefined): (value: number) => string {
  return metric?.unit === 'share' ? percent : figure;
}

/** Writes one of a step's metrics. */
export function formattedMetric(
  metrics: { readonly [Name in PageMetric['name']]?: number | undefined },
  metric: PageMetric,
): string {
  return formatted(metrics[metric.name], formatOf(metric));
}

/** Returns the current step; undefined before training. */
export function progressOf({ lorikeet: { step, total_steps: totalSteps } }: FineTuningJob) {
  return step === undefined || totalSteps === undefined ? undefined : { step, totalSteps };
}

/** Returns progress and remaining time, or what still runs after the last step; empty if the job is not training. */
export function progressText(job: FineTuningJob, nowS: number): string {
  const progress = progressOf(job);
  if (!progress || isFinished(job)) return '';
  const share = percent(progress.step / Math.max(1, progress.totalSteps));
  if (progress.step >= progress.totalSteps) return `${share}, evaluating the adapter`;
  const restS = (job.estimated_finish ?? 0) - nowS;
  const [from, to] = [restS * (1 - SPEED_SPREAD), restS * (1 + SPEED_SPREAD)];
  return restS > 0 ? `${share}, ${durationRange(from, to)} left` : share;
}

/** The assumed error of the remaining time, on a machine that also does other work. */
const SPEED_SPREAD = 0.15;

/** Returns the seconds from the start of training to its end, or to now. */
export function runSeconds(
  { lorikeet: { started_at: startedS }, finished_at: finishedS }: FineTuningJob,
  nowS: number,
): number | undefined {
  return startedS === undefined ? undefined : Math.max(0, (finishedS ?? nowS) - startedS);
}
