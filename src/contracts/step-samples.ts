// Some samples of a step of reinforcement, in the form that the run folder, the job's part of the store and the API share.
import { z } from 'zod';

const sampleSchema = z.object({
  text: z.string(),
  tokens: z.int(),
  finish: z
    .enum(['stop', 'length'])
    .describe('Whether it ended by itself, or was cut off at the most tokens'),
  reward: z.number(),
  parts: z
    .record(z.string(), z.number())
    .describe('The scores of the graders of `multi`, by name; of another grader, its own'),
  error: z
    .string()
    .optional()
    .describe('Why the grader failed: the name in `metadata.errors`, and details'),
});

/** The samples of a step. Long texts are cut. */
export const stepSamplesSchema = z.object({
  /** Counted from 1. */
  step: z.int(),
  prompts: z.array(z.object({ text: z.string(), completions: z.array(sampleSchema) })),
});
/** Samples of a step: some of its prompts, with all their completions. */
export type StepSamples = z.infer<typeof stepSamplesSchema>;
