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
  /** It is about the step alone, so checkpoints lack it. */
  readonly isOfStep?: true;
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
  /** The gradient's norm before clipping. */
  gradNorm: { scalar: 'train/grad_norm', isOfStep: true },
  learningRate: { api: 'learning_rate', scalar: 'train/learning_rate', isOfStep: true },
  /** Tokens of the step, without padding. */
  tokens: { isOfStep: true },
  tokensPerSecond: { api: 'tokens_per_second', scalar: 'train/tokens_per_second', isOfStep: true },
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

/** The means of the validation after the step. */
const EVAL_PAIRS = {
  'eval_rewards/chosen': {},
  'eval_rewards/rejected': {},
  'eval_rewards/margins': {},
  'eval_rewards/accuracies': {},
  'eval_logps/chosen': {},
  'eval_logps/rejected': {},
} as const satisfies Record<`eval_${keyof typeof PAIRS}`, Metric>;

const OBJECTIVE = { ...PAIRS, ...REWARDS, ...EVAL_PAIRS };
type ObjectiveName = keyof typeof OBJECTIVE;
type MetricName = keyof typeof LOSSES | ObjectiveName;
type StepName = 'gradNorm' | 'learningRate' | 'tokens' | 'tokensPerSecond';

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
  Readonly<Record<'step' | StepName, number>> &
  StepGrading;

const rowsOf = (table: Partial<Record<MetricName, Metric>>) =>
  Object.entries(table) as [name: MetricName, row: Metric][];
const ROWS = rowsOf({ ...LOSSES, ...OBJECTIVE });

/** The names that TRL gives to metrics of pairs and rewards. */
export const OBJECTIVE_METRICS = Object.keys(OBJECTIVE) as ObjectiveName[];

/** Returns the metrics of a validation under their names. */
export function evalMetrics(metrics: Partial<PairMetrics>): ObjectiveMetrics {
  return Object.fromEntries(Object.entries(metrics).map(([name, mean]) => [`eval_${name}`, mean]));
}

/** TensorBoard's names with their metrics: `train/rewards/chosen` of `rewards/chosen`, `validation/…` of `eval_…`. */
export const SCALARS = [
  ...rowsOf(LOSSES).flatMap(([name, { scalar }]) => (scalar ? [[scalar, name] as const] : [])),
  ...OBJECTIVE_METRICS.map(
    (name) => [`train/${name}`.replace('train/eval_', 'validation/'), name] as const,
  ),
];

/** Returns the columns of OpenAI's result table with their metrics. */
export function resultColumns(isRewarded: boolean): (readonly [string, MetricName])[] {
  return rowsOf(isRewarded ? REWARDS : LOSSES).flatMap(([name, { api, column = api, isOfStep }]) =>
    column && !isOfStep ? [[column, name] as const] : [],
  );
}

type Rows = typeof LOSSES & typeof REWARDS;
/** A name of a metric in events and checkpoints of the API: OpenAI's, or TRL's. */
export type ApiMetricName =
  | { [Name in keyof Rows]: Rows[Name] extends { api: infer Api } ? Api : never }[keyof Rows]
  | ObjectiveName;

const API_NAMES = [
  ...ROWS.flatMap(([name, { api }]) => (api ? [[api as ApiMetricName, name] as const] : [])),
  ...OBJECTIVE_METRICS.map((name) => [name, name] as const),
];

/** Returns the measured metrics by the API's names. */
export function apiMetrics(metrics: RunMetrics): { readonly [Name in ApiMetricName]?: number } {
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
  ROWS.filter(([, { isOfStep }]) => !isOfStep).map(([name]) => [name, measured]),
) as Record<Exclude<MetricName, StepName>, typeof measured>;

/**
 * The metrics of a checkpoint in a job's record. Servers of release 0.3.0 read and write the same records, with other names of
 * two metrics.
 */
export const checkpointMetricsSchema = z.preprocess(
  (metrics) => {
    const { loss, tokenAccuracy, trainLoss, trainTokenAccuracy } = metrics as Record<
      string,
      unknown
    >;
    const newer = { loss: trainLoss, tokenAccuracy: trainTokenAccuracy };
    const older = { trainLoss: loss, trainTokenAccuracy: tokenAccuracy };
    return { ...newer, ...older, ...(metrics as object) };
  },
  z.object({
    ...checkpointShape,
    ...{ loss: z.number(), tokenAccuracy: z.number() },
    ...{ trainLoss: measured, trainTokenAccuracy: measured },
  }),
);
