// The objectives of a run, the training settings of one that learns from preferences, and the names of their metrics, which are
// TRL's.
import { z } from 'zod';

/** The objectives of a run, by OpenAI's names of the methods. */
export const OBJECTIVES = ['supervised', 'dpo', 'reinforcement'] as const;
/** One of the objectives. */
export type Objective = (typeof OBJECTIVES)[number];

/** The losses of DPO, by TRL's names. */
const PREFERENCE_LOSSES = ['sigmoid', 'ipo', 'robust'] as const;

/** The loss of a run of DPO. */
export interface Preference {
  readonly loss: (typeof PREFERENCE_LOSSES)[number];
  /** How strongly the model is kept near the reference. */
  readonly beta: number;
  /** The assumed share of pairs whose outputs are swapped. Only for `robust`. */
  readonly labelSmoothing: number;
}

/** TRL's defaults. */
export const DEFAULT_PREFERENCE: Preference = { loss: 'sigmoid', beta: 0.1, labelSmoothing: 0 };

/** The settings. */
export const PREFERENCE_SETTINGS = {
  objective: {
    schema: z.enum(OBJECTIVES),
    help: 'supervised; dpo: learn from pairs of a preferred and a non-preferred output; reinforcement: from rewards of sampled outputs',
    fallback: 'supervised',
    api: { name: 'method.type' },
  },
  beta: {
    schema: z.number().positive(),
    help: 'dpo: how strongly the model is kept near the one it starts from',
    fallback: String(DEFAULT_PREFERENCE.beta),
    api: {
      group: 'hyperparameters',
      name: 'beta',
      schema: z.number().positive().max(2),
      rule: 'a number above 0, at most 2',
      auto: DEFAULT_PREFERENCE.beta,
      objective: 'dpo',
    },
    needs: 'preferences',
  },
  loss: {
    schema: z.enum(PREFERENCE_LOSSES),
    help: 'dpo: sigmoid, ipo, or robust (to swapped pairs)',
    fallback: DEFAULT_PREFERENCE.loss,
    api: { group: 'lorikeet', name: 'loss' },
    needs: 'preferences',
  },
  labelSmoothing: {
    schema: z.number().min(0).lt(0.5),
    help: 'dpo with loss robust: the assumed share of swapped pairs',
    fallback: String(DEFAULT_PREFERENCE.labelSmoothing),
    api: { group: 'lorikeet', name: 'label_smoothing' },
    needs: 'preferences',
  },
} as const;

/** TRL's names of the metrics: means over the pairs of a step. */
const PAIR_METRICS = [
  'rewards/chosen',
  'rewards/rejected',
  'rewards/margins',
  'rewards/accuracies',
  'logps/chosen',
  'logps/rejected',
] as const;

/** Means over pairs. A reward is beta times the rise of an output's log-probability over the reference. */
export type PairMetrics = Readonly<Record<(typeof PAIR_METRICS)[number], number>>;

/** TRL's names of the metrics of reinforcement. */
const REWARD_METRICS = [
  'reward',
  'reward_std',
  'frac_reward_zero_std',
  'entropy',
  'completions/mean_length',
  'completions/clipped_ratio',
  'sampling/sampling_logp_difference/mean',
  'profiling/sampling',
  'profiling/grading',
  'profiling/training',
] as const;

/**
 * Means over the completions of a step; the deviation and the share of constant rewards are those of the completions of one prompt.
 * The entropy of a token, in nats, is estimated from the samples. The profile is in seconds.
 */
export type RewardMetrics = { readonly [Name in (typeof REWARD_METRICS)[number]]?: number };

/** OpenAI's names of metrics of reinforcement. */
export const OPENAI_REWARDS = {
  train_mean_reward: 'reward',
  full_valid_mean_reward: 'eval_reward',
  completion_tokens_mean: 'completions/mean_length',
} as const;

/** The metrics of a training step and, with `eval_` before their names, of the validation after it. */
export const OBJECTIVE_METRICS = [
  ...PAIR_METRICS,
  ...REWARD_METRICS,
  'eval_reward',
  ...PAIR_METRICS.map((name) => `eval_${name}` as const),
] as const;

/** The measured ones of these metrics. */
export type ObjectiveMetrics = {
  readonly [Name in (typeof OBJECTIVE_METRICS)[number]]?: number;
};

/** Returns the metrics of a validation under their names. */
export function evalMetrics(metrics: PairMetrics): ObjectiveMetrics {
  return Object.fromEntries(Object.entries(metrics).map(([name, mean]) => [`eval_${name}`, mean]));
}

/** Returns only these metrics of an object. */
export function objectiveMetricsOf(metrics: ObjectiveMetrics): ObjectiveMetrics {
  const known = OBJECTIVE_METRICS.filter((name) => metrics[name] !== undefined);
  return Object.fromEntries(known.map((name) => [name, metrics[name]]));
}
