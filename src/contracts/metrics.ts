// The metrics of a training step, one row each. A step's record has the table's keys in `metrics.jsonl`, in messages and in
// jobs. Other formats have other names, and only this table knows them.
import { z } from 'zod';
import type { StepGrading } from './grading-summary.ts';

interface Metric {
  /** OpenAI's name in events and checkpoints. */
  readonly api?: string;
  /** OpenAI's name in the result table. Absent: as in events. */
  readonly column?: string;
  /** TensorBoard's name. */
  readonly scalar?: string;
  /** Its name on the pages. */
  readonly label?: string;
  /** Absent: a plain number. */
  readonly unit?: 'share';
  /** The chart on a job's page that shows it. */
  readonly curve?: 'loss' | 'accuracy' | 'rewards' | 'reward' | 'length';
}

const LOSSES = {
  /** Weighted mean over the step's tokens, in nats. */
  loss: { api: 'train_loss', scalar: 'train/loss', label: 'Training loss', curve: 'loss' },
  /** The share of the trained tokens that have the largest logit; for a run that is not trained on tokens, of its rows. */
  tokenAccuracy: {
    api: 'train_mean_token_accuracy',
    column: 'train_accuracy',
    scalar: 'train/token_accuracy',
    label: 'Training accuracy',
    unit: 'share',
    curve: 'accuracy',
  },
  /** Weighted mean over the trained tokens of the validation rows, in nats; the negative mean of rewards. */
  validationLoss: {
    api: 'full_valid_loss',
    column: 'valid_loss',
    scalar: 'validation/loss',
    label: 'Validation loss',
    curve: 'loss',
  },
  /** Absent for rewards. */
  validationTokenAccuracy: {
    api: 'full_valid_mean_token_accuracy',
    column: 'valid_mean_token_accuracy',
    scalar: 'validation/token_accuracy',
    label: 'Validation accuracy',
    unit: 'share',
    curve: 'accuracy',
  },
} as const satisfies Record<string, Metric>;

/** They are about the step alone, so checkpoints lack them. */
const PACE = {
  /** The gradient's norm before clipping. */
  gradNorm: { scalar: 'train/grad_norm' },
  learningRate: { api: 'learning_rate', scalar: 'train/learning_rate' },
  /** Tokens of the step, without padding. */
  tokens: {},
  tokensPerSecond: { api: 'tokens_per_second', scalar: 'train/tokens_per_second' },
} as const satisfies Record<string, Metric>;

/** Means over the pairs of a step, by TRL's names. A reward is beta times the rise of an output's log-probability over the reference. */
const PAIRS = {
  'rewards/chosen': { label: 'Preferred', curve: 'rewards' },
  'rewards/rejected': { label: 'Non-preferred', curve: 'rewards' },
  'rewards/margins': { label: 'Margin', curve: 'rewards' },
  'rewards/accuracies': {},
  'logps/chosen': {},
  'logps/rejected': {},
} as const satisfies Record<string, Metric>;

/**
 * Means over the completions of a step, by TRL's names; the deviation and the share of constant rewards are those of the
 * completions of one prompt. The entropy of a token, in nats, is estimated from the samples. The profile is in seconds.
 */
const REWARDS = {
  reward: { api: 'train_mean_reward', label: 'Training reward', curve: 'reward' },
  eval_reward: { api: 'full_valid_mean_reward', label: 'Validation reward', curve: 'reward' },
  'completions/mean_length': {
    api: 'completion_tokens_mean',
    label: 'Mean tokens',
    curve: 'length',
  },
  'completions/clipped_ratio': {},
  reward_std: {},
  frac_reward_zero_std: {},
  entropy: {},
  'sampling/sampling_logp_difference/mean': {},
  'profiling/sampling': {},
  'profiling/grading': {},
  'profiling/training': {},
} as const satisfies Record<string, Metric>;

/** `eval_…` is the mean of the validation after the step. */
type ObjectiveName = keyof typeof PAIRS | keyof typeof REWARDS | `eval_${keyof typeof PAIRS}`;
type CheckpointName = keyof typeof LOSSES | ObjectiveName;
type MetricName = CheckpointName | keyof typeof PACE;

/** Means over pairs. */
export type PairMetrics = Readonly<Record<keyof typeof PAIRS, number>>;
/** The sums over no pairs. */
export const NO_PAIRS = Object.fromEntries(
  Object.keys(PAIRS).map((name) => [name, 0]),
) as PairMetrics;
/** Means over completions. */
export type RewardMetrics = { readonly [Name in keyof typeof REWARDS]?: number };
/** The measured ones of both. */
export type ObjectiveMetrics = { readonly [Name in ObjectiveName]?: number };
/** The measured metrics of a step or a checkpoint. */
export type RunMetrics = { readonly [Name in MetricName]?: number };
/** The metrics of a checkpoint. */
export type CheckpointMetrics = RunMetrics & Readonly<Record<'loss' | 'tokenAccuracy', number>>;
/** A step, counted from 1: one line of `metrics.jsonl`. */
export type StepMetrics = CheckpointMetrics &
  Readonly<Record<'step' | keyof typeof PACE, number>> &
  StepGrading;

const rowsOf = (table: Partial<Record<MetricName, Metric>>) =>
  Object.entries(table) as [name: MetricName, row: Metric][];
const ROWS = rowsOf({ ...LOSSES, ...PACE, ...PAIRS, ...REWARDS });

/** The names that TRL gives to metrics of pairs and rewards. */
export const OBJECTIVE_METRICS = [
  ...Object.keys({ ...PAIRS, ...REWARDS }),
  ...Object.keys(PAIRS).map((name) => `eval_${name}`),
] as readonly ObjectiveName[];

/** Returns the metrics of a validation under their names. */
export function evalMetrics(metrics: Partial<PairMetrics>): ObjectiveMetrics {
  return Object.fromEntries(Object.entries(metrics).map(([name, mean]) => [`eval_${name}`, mean]));
}

/** TensorBoard's names with their metrics: `train/rewards/chosen` of `rewards/chosen`, `validation/…` of `eval_…`. */
export const SCALARS = [
  ...ROWS.flatMap(([name, { scalar }]) => (scalar ? [[scalar, name] as const] : [])),
  ...OBJECTIVE_METRICS.map(
    (name) => [`train/${name}`.replace('train/eval_', 'validation/'), name] as const,
  ),
];

/** Returns the columns of OpenAI's result table with their metrics. */
export function resultColumns(isRewarded: boolean): (readonly [string, MetricName])[] {
  return rowsOf(isRewarded ? REWARDS : LOSSES).flatMap(([name, { api, column = api }]) =>
    column ? [[column, name] as const] : [],
  );
}

type Rows = typeof LOSSES & typeof PACE & typeof REWARDS;
/** A name of a metric in events and checkpoints of the API: OpenAI's, or TRL's. */
export type ApiMetricName =
  | { [Name in keyof Rows]: Rows[Name] extends { api: infer Api } ? Api : never }[keyof Rows]
  | ObjectiveName;
/** Metrics by these names. */
type ApiMetrics = { readonly [Name in ApiMetricName]?: number };

const API_NAMES = [
  ...ROWS.flatMap(([name, { api }]) => (api ? [[api as ApiMetricName, name] as const] : [])),
  ...OBJECTIVE_METRICS.map((name) => [name, name] as const),
];

/** Returns the measured metrics by the API's names. */
export function apiMetrics(metrics: RunMetrics): ApiMetrics {
  // The validation loss of rewards is only their negative.
  const { validationLoss, ...others } = metrics;
  const shown: RunMetrics = metrics.reward === undefined ? metrics : others;
  const named = API_NAMES.map(([name, key]) => [name, shown[key]] as const);
  return Object.fromEntries(named.filter(([, value]) => value !== undefined));
}

/** The API's names as a schema. */
export const apiMetricsShape = Object.fromEntries(
  API_NAMES.map(([name]) => [name, z.number().optional()]),
) as Record<ApiMetricName, z.ZodOptional<z.ZodNumber>>;

/** A metric that pages show, by the API's name. */
export interface PageMetric
  extends Required<Pick<Metric, 'label' | 'curve'>>,
    Pick<Metric, 'unit'> {
  readonly name: ApiMetricName;
}

/** Returns these metrics. */
export function pageMetrics(): PageMetric[] {
  return ROWS.flatMap(([name, { api = name, label, curve, unit }]) =>
    label && curve ? [{ name: api as ApiMetricName, label, curve, ...(unit && { unit }) }] : [],
  );
}

const measured = z.number().exactOptional();
const checkpointShape = Object.fromEntries(
  [...Object.keys(LOSSES), ...OBJECTIVE_METRICS].map((name) => [name, measured]),
) as Record<CheckpointName, typeof measured>;

/**
 * The metrics of a checkpoint in a job's record. Servers of release 0.3.0 read and write the same records, with other names of
 * two metrics.
 */
export const checkpointMetricsSchema = z.preprocess(
  (metrics) => {
    const stored = metrics as Record<string, unknown>;
    const newer = { loss: stored['trainLoss'], tokenAccuracy: stored['trainTokenAccuracy'] };
    const older = { trainLoss: stored['loss'], trainTokenAccuracy: stored['tokenAccuracy'] };
    return { ...newer, ...older, ...stored };
  },
  z.object({
    ...checkpointShape,
    ...{ loss: z.number(), tokenAccuracy: z.number() },
    ...{ trainLoss: measured, trainTokenAccuracy: measured },
  }),
);
