// The objectives of a run, and the training settings of one that learns from preferences.
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

/** At this value, a margin of 0.1 nats is as good as certainty. */
const MAX_BETA = 100;
/** TRL's defaults. */
export const DEFAULT_PREFERENCE: Preference = { loss: 'sigmoid', beta: 0.1, labelSmoothing: 0 };

/** The settings. */
export const PREFERENCE_SETTINGS = {
  objective: {
    heading: 'Preferences and rewards:',
    schema: z.enum(OBJECTIVES),
    isCommon: true,
    help: 'supervised; dpo: learn from pairs of a preferred and a non-preferred output; reinforcement: from rewards of sampled outputs',
    fallback: 'supervised',
    api: { name: 'method.type' },
  },
  beta: {
    schema: z.number().positive().max(MAX_BETA),
    help: 'dpo: how strongly the model is kept near the one it starts from',
    fallback: String(DEFAULT_PREFERENCE.beta),
    api: {
      group: 'hyperparameters',
      name: 'beta',
      label: 'Beta',
      schema: z.number().positive().max(2),
      rule: 'a number above 0, at most 2',
      auto: DEFAULT_PREFERENCE.beta,
    },
    objectives: ['dpo'],
  },
  loss: {
    schema: z.enum(PREFERENCE_LOSSES),
    help: 'dpo: sigmoid, ipo, or robust (to swapped pairs)',
    fallback: DEFAULT_PREFERENCE.loss,
    api: { group: 'lorikeet', name: 'loss' },
    objectives: ['dpo'],
  },
  labelSmoothing: {
    schema: z.number().min(0).lt(0.5),
    help: 'dpo with loss robust: the assumed share of swapped pairs',
    fallback: String(DEFAULT_PREFERENCE.labelSmoothing),
    api: { group: 'lorikeet', name: 'label_smoothing' },
    objectives: ['dpo'],
  },
} as const;
