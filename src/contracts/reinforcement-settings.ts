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

/** More completions of one prompt say little more about it. */
const MAX_COMPLETIONS = 64;

/** The settings. */
export const REINFORCEMENT_SETTINGS = {
  grader: {
    schema: z.record(z.string(), z.unknown()),
    flag: 'file',
    help: "reinforcement: JSON file with the grader that rewards completions, in OpenAI's format",
    needs: 'rewards',
  },
  responseFormat: {
    schema: z.record(z.string(), z.unknown()),
    flag: 'file',
    help: "reinforcement: JSON file with OpenAI's response_format, which constrains completions",
    fallback: 'text',
    needs: 'rewards',
  },
  completions: {
    schema: z.int().min(2).max(MAX_COMPLETIONS),
    help: 'reinforcement: completions that are sampled for a prompt and compared',
    fallback: String(DEFAULT_SAMPLING.completions),
    needs: 'rewards',
  },
  completionLength: {
    schema: z.int().min(1).max(65_536),
    help: 'reinforcement: maximum number of tokens of a completion',
    fallback: String(DEFAULT_SAMPLING.completionLength),
    needs: 'rewards',
  },
} as const satisfies Record<string, TrainingSetting>;
