// Short facts about a fine-tuning job, as several pages show them. Pure: touches no element.
import { durationRange, figure, percent } from './format.js';
import { FORM_FIELDS } from './tables.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */
/** @typedef {import('../contracts/metrics.ts').PageMetric} Metric */

const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

/** Returns a job's status in one word. @param {Job} job */
export function statusWord({ status }) {
  return status === 'validating_files' ? 'validating' : status;
}

/** Whether a job is over. @param {Job} job */
export function isFinished({ status }) {
  return ENDED.has(status);
}

/** Returns the name that the user gave, else the id. @param {Job} job */
export function jobName({ user_provided_suffix: suffix, id }) {
  return suffix ?? id;
}

/** @type {Readonly<Record<Job['method']['type'], string>>} */
const METHODS = { supervised: 'Supervised', dpo: 'DPO', reinforcement: 'Reinforcement' };

/** A job's base model and settings, as the comparison and the job's page name them. @type {readonly (readonly [name: string, read: (job: Job) => unknown])[]} */
export const SETTINGS = [
  ['Base model', ({ model }) => model],
  ['Method', ({ method }) => METHODS[method.type]],
  ['Grader', ({ method }) => method.reinforcement?.grader['type']],
  ...FORM_FIELDS.map(
    (field) =>
      /** @type {const} */ ([field.label, (/** @type {Job} */ job) => settingOf(job, field)]),
  ),
  ['Classes', classCountOf],
  [
    'Held out',
    ({ lorikeet }) =>
      lorikeet.validation_split && `${percent(lorikeet.validation_split)} of the file`,
  ],
];

/** @param {Job} job @param {typeof FORM_FIELDS[number]} field */
function settingOf(job, { id, parent }) {
  /** @type {Readonly<Record<string, Readonly<Record<string, unknown>>>>} */
  const parents = {
    hyperparameters: hyperparametersOf(job),
    lorikeet: job.lorikeet,
    job: { seed: job.seed },
  };
  return parents[parent]?.[id];
}

/** Whether a job learns from pairs of outputs. Its accuracies then count pairs instead of tokens. @param {Pick<Job, 'method'>} job */
export function learnsPairs({ method }) {
  return method.type === 'dpo';
}

/** Whether a job learns from rewards. It has no accuracy, and its loss says little. @param {Pick<Job, 'method'>} job */
export function learnsRewards({ method }) {
  return method.type === 'reinforcement';
}

/** Returns the mean reward on the validation rows; undefined if there was no validation. @param {Job} job */
export function rewardOf(job) {
  return evaluationOf(job)['reward'] ?? job.lorikeet.valid_reward;
}

/** Returns a job's hyperparameters, which depend on its method. @param {Pick<Job, 'method'>} job */
export function hyperparametersOf({ method }) {
  /** @type {Partial<import('../contracts/fine-tuning-api.ts').JobHyperparameters>} */
  const none = {};
  return method[method.type]?.hyperparameters ?? none;
}

/** Returns a job's evaluation card; empty until it is evaluated. @param {Job} job @returns {Partial<import('../contracts/evaluation-card.ts').EvaluationCard>} */
export function evaluationOf({ lorikeet }) {
  return lorikeet.evaluation ?? {};
}

/** Returns the validation accuracy of the base and the adapter: of classes for a classifier, of pairs for DPO, else of tokens. @param {Readonly<Record<string, unknown>>} card */
export function accuracyOf(card) {
  return {
    base: card['base_accuracy'] ?? card['base_validation_token_accuracy'],
    adapter: card['accuracy'] ?? card['validation_token_accuracy'],
  };
}

/** Names the accuracy that a job measures. @param {Job | undefined} job */
export function accuracyName(job) {
  if (!job || classCountOf(job) !== undefined) return 'Accuracy';
  return learnsPairs(job) ? 'Pair accuracy' : 'Token accuracy';
}

/** Returns the number of classes; undefined if the job does not train a classifier. @param {Job} job */
export function classCountOf({ lorikeet }) {
  return lorikeet.num_classes;
}

/** Formats a number; anything else is shown as a dash. @param {unknown} value @param {(value: number) => string} format */
export function formatted(value, format) {
  return typeof value === 'number' ? format(value) : '–';
}

/** Returns how to write a metric. @param {Metric | undefined} metric */
export function formatOf(metric) {
  return metric?.unit === 'share' ? percent : figure;
}

/** Writes one of a step's metrics. @param {Partial<Record<Metric['name'], number | undefined>>} metrics @param {Metric} metric */
export function formattedMetric(metrics, metric) {
  return formatted(metrics[metric.name], formatOf(metric));
}

/** Returns the current step; undefined before training. @param {Job} job @returns {{ step: number, totalSteps: number } | undefined} */
export function progressOf({ lorikeet: { step, total_steps: totalSteps } }) {
  return step === undefined || totalSteps === undefined ? undefined : { step, totalSteps };
}

/** Returns progress and remaining time; empty if the job is not training. @param {Job} job @param {number} nowS */
export function progressText(job, nowS) {
  const progress = progressOf(job);
  if (!progress || isFinished(job)) return '';
  const share = percent(progress.step / Math.max(1, progress.totalSteps));
  const range = remainingRange(job, nowS);
  return range ? `${share}, ${durationRange(...range)} left` : share;
}

/** The assumed error of the remaining time, on a machine that also does other work. */
const SPEED_SPREAD = 0.15;

/** In seconds. @param {Job} job @param {number} nowS @returns {[from: number, to: number] | undefined} */
function remainingRange({ estimated_finish: finishS }, nowS) {
  const restS = (finishS ?? 0) - nowS;
  return restS > 0 ? [restS * (1 - SPEED_SPREAD), restS * (1 + SPEED_SPREAD)] : undefined;
}

/** Returns the planned duration in seconds. @param {Job} job @returns {[from: number, to: number] | undefined} */
export function plannedRange({ lorikeet }) {
  const [from, to] = lorikeet.planned_seconds_range ?? [];
  return from === undefined || to === undefined ? undefined : [from, to];
}

/** Returns the seconds from the start of training to its end, or to now. @param {Job} job @param {number} nowS */
export function runSeconds({ lorikeet: { started_at: startedS }, finished_at: finishedS }, nowS) {
  return startedS === undefined ? undefined : Math.max(0, (finishedS ?? nowS) - startedS);
}
