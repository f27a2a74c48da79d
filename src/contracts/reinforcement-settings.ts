// The training settings of reinforcement: completions of prompts are sampled, and a grader rewards them.
import { z } from 'zod';
import type { TrainingSetting } from './training-setting.ts';

/** How completions are sampled. */
export interface Sampling {
  /** Completions of a prompt. */
  readonly completions: number;
  /** The most tokens of a completion. */
  readonly completionLength: number;
}

/** TRL's defaults. */
export const DEFAULT_SAMPLING: Sampling = { completions: 8, completionLength: 512 };

/** Fewer cannot be compared. More completions of one prompt say little more about it. */
export const COMPLETIONS_RANGE = [2, 64] as const;
/** The most rows of each file that OpenAI's API takes. */
export const MAX_PROMPTS = { training_file: 50_000, validation_file: 1_000 } as const;

/** The settings. */
export const REINFORCEMENT_SETTINGS = {
  grader: {
    schema: z.record(z.string(), z.unknown()),
    flag: 'file',
    isCommon: true,
    help: "reinforcement: JSON file with the grader that rewards completions, in OpenAI's format",
    api: { name: 'method.reinforcement.grader' },
    objectives: ['reinforcement'],
  },
  responseFormat: {
    schema: z.record(z.string(), z.unknown()),
    flag: 'file',
    help: "reinforcement: JSON file with OpenAI's response_format, which constrains completions",
    fallback: 'text',
    api: { name: 'method.reinforcement.response_format' },
    objectives: ['reinforcement'],
  },
  completions: {
    schema: z.int().min(COMPLETIONS_RANGE[0]).max(COMPLETIONS_RANGE[1]),
    help: 'reinforcement: completions that are sampled for a prompt and compared',
    fallback: String(DEFAULT_SAMPLING.completions),
    api: { group: 'lorikeet', name: 'completions', label: 'Completions per prompt' },
    objectives: ['reinforcement'],
  },
  computeMultiplier: {
    schema: z.number().gt(1e-5).max(10),
    flag: 'none',
    help: `reinforcement: factor for the number of completions, which stays between ${COMPLETIONS_RANGE.join(' and ')}`,
    fallback: '1',
    api: {
      group: 'hyperparameters',
      name: 'compute_multiplier',
      label: 'Compute multiplier',
      rule: 'a number above 0.00001, at most 10',
      auto: 1,
    },
    objectives: ['reinforcement'],
  },
  completionLength: {
    schema: z.int().min(1).max(65_536),
    help: 'reinforcement: maximum number of tokens of a completion',
    fallback: String(DEFAULT_SAMPLING.completionLength),
    api: { group: 'lorikeet', name: 'completion_length', label: 'Tokens per completion' },
    objectives: ['reinforcement'],
  },
  evalSamples: {
    schema: z.int().min(1).max(1_000_000),
    help: 'reinforcement: rows of a validation, drawn once per run',
    fallback: 'all',
    api: {
      group: 'hyperparameters',
      name: 'eval_samples',
      label: 'Rows per validation',
      rule: 'a whole number of at least 1',
      auto: 'validationExamples',
    },
    needs: 'validation',
    objectives: ['reinforcement'],
  },
  reasoningEffort: {
    schema: z.enum(['low', 'medium', 'high']),
    help: 'reinforcement: low, medium or high, passed to the chat template, which may ignore it',
    api: {
      group: 'hyperparameters',
      name: 'reasoning_effort',
      label: 'Reasoning effort',
      rule: 'low, medium or high',
      absent: 'default',
    },
    objectives: ['reinforcement'],
  },
} as const satisfies Record<string, TrainingSetting>;
