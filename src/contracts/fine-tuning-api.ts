// Files and fine-tuning jobs as OpenAI's API shows them.
import { z } from '@hono/zod-openapi';
import { evaluationCardSchema } from './evaluation-card.ts';
import { FILE_PURPOSES } from './file-purposes.ts';
import { JOB_STATUSES } from './job-status.ts';
import { apiMetricsShape } from './metrics.ts';
import { deletedOf, listOf, unixSeconds } from './openai.ts';
import { OBJECTIVES } from './preference-settings.ts';
import { stepSamplesSchema } from './step-samples.ts';
import {
  extensionFields,
  type Hyperparameter,
  hyperparameterShape,
  orAbsent,
} from './training-fields.ts';

export const fileObjectSchema = z
  .object({
    id: z.string(),
    object: z.literal('file'),
    bytes: z.int(),
    created_at: unixSeconds,
    expires_at: unixSeconds.optional(),
    filename: z.string(),
    purpose: z.enum(FILE_PURPOSES),
    status: z.literal('processed').describe('Always processed, because some clients wait for it'),
  })
  .openapi('File');
/** An uploaded file or a result file. */
export type FileObject = z.infer<typeof fileObjectSchema>;

export const fileListSchema = listOf(fileObjectSchema).openapi('FileList');

export const deletedFileSchema = deletedOf('file').openapi('DeletedFile');

const jsonObject = z.record(z.string(), z.unknown());

const hyperparameter = (row: Hyperparameter) =>
  orAbsent(row)
    .optional()
    .describe(`For ${row.objectives.join(', ')}: ${row.help}`);

export const hyperparametersSchema = z.object(hyperparameterShape('name', hyperparameter));
/** Hyperparameters of a fine-tuning job. */
export type JobHyperparameters = z.infer<typeof hyperparametersSchema>;

const ofMethod = z.object({ hyperparameters: hyperparametersSchema });

const planned = { planned_seconds: z.number(), planned_seconds_range: z.array(z.number()) };
const progress = { started_at: unixSeconds, step: z.int(), total_steps: z.int() };
const jobExtensionSchema = z
  .object({
    ...extensionFields(),
    ...{ ...planned, planned_memory_bytes: z.number(), num_classes: z.int() },
    ...progress,
    train_loss: z.number().describe("The latest step's"),
    valid_loss: z.number().describe('The lowest so far'),
    valid_reward: z.number().describe('The highest so far'),
    kept_step: z.int().describe('The step that became the result'),
    ...{ version: z.int(), digest: z.string(), evaluation: evaluationCardSchema },
  })
  .partial()
  .extend({ adapter: z.string() })
  .openapi('FineTuningJobExtension', {
    description: 'Settings of this server, plan, progress and evaluation',
  });

export const fineTuningJobSchema = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job'),
    created_at: unixSeconds,
    finished_at: unixSeconds.nullable(),
    estimated_finish: unixSeconds.nullable(),
    model: z.string(),
    fine_tuned_model: z.string().nullable(),
    organization_id: z.string(),
    status: z.enum(JOB_STATUSES),
    hyperparameters: hyperparametersSchema
      .partial()
      .describe(
        'Empty unless the method is supervised. Validation of the files replaces `auto` by numbers',
      ),
    method: z.object({
      type: z.enum(OBJECTIVES),
      supervised: ofMethod.optional(),
      dpo: ofMethod.optional(),
      reinforcement: ofMethod
        .extend({ grader: jsonObject, response_format: jsonObject.optional() })
        .optional(),
    }),
    training_file: z.string(),
    validation_file: z.string().nullable(),
    result_files: z.array(z.string()),
    trained_tokens: z.int().nullable(),
    seed: z.int(),
    error: z
      .object({ code: z.string(), message: z.string(), param: z.string().nullable() })
      .nullable(),
    integrations: z.array(z.unknown()),
    metadata: z.record(z.string(), z.string()).nullable(),
    user_provided_suffix: z.string().nullable(),
    lorikeet: jobExtensionSchema,
  })
  .openapi('FineTuningJob');
/** A fine-tuning job. */
export type FineTuningJob = z.infer<typeof fineTuningJobSchema>;

export const fineTuningJobListSchema = listOf(fineTuningJobSchema).openapi('FineTuningJobList');

/** OpenAI's figures of the graders. */
const figures = z.record(z.string(), z.unknown());
const gradingShape = {
  ...{ mean_unresponsive_rewards: z.number(), full_valid_mean_parse_error: z.number() },
  ...{ reasoning_tokens_mean: z.number(), valid_reasoning_tokens_mean: z.number() },
  ...{ model_graders_token_usage: figures, scores: figures, usage: figures },
  ...{ errors: figures, timing: figures },
};

/** The data of any event: a step has metrics, a warning its kind, the last one the result. */
const eventDataSchema = z
  .object({
    ...{ step: z.int(), total_steps: z.int(), ...apiMetricsShape, ...gradingShape },
    code: z.string().describe('The kind of a warning or a fault'),
    lines: z.array(z.int()).describe('Faulty lines of the file'),
    ...{ cause: z.string(), cure: z.string(), model: z.string(), version: z.int() },
  })
  .partial();

const fineTuningEventSchema = z
  .object({
    object: z.literal('fine_tuning.job.event'),
    id: z.string(),
    created_at: unixSeconds,
    level: z.enum(['info', 'warn', 'error']),
    message: z.string(),
    type: z.enum(['message', 'metrics']),
    data: eventDataSchema,
  })
  .openapi('FineTuningJobEvent');
/** An event of a fine-tuning job. */
export type FineTuningJobEvent = z.infer<typeof fineTuningEventSchema>;

export const fineTuningEventListSchema =
  listOf(fineTuningEventSchema).openapi('FineTuningJobEventList');

const fineTuningCheckpointSchema = z
  .object({
    object: z.literal('fine_tuning.job.checkpoint'),
    id: z.string(),
    created_at: unixSeconds,
    fine_tuned_model_checkpoint: z.string(),
    fine_tuning_job_id: z.string(),
    step_number: z.int(),
    metrics: z.object({ step: z.int(), ...apiMetricsShape }),
  })
  .openapi('FineTuningJobCheckpoint');
/** A checkpoint of a fine-tuning job. */
export type FineTuningJobCheckpoint = z.infer<typeof fineTuningCheckpointSchema>;

export const fineTuningCheckpointListSchema = listOf(fineTuningCheckpointSchema).openapi(
  'FineTuningJobCheckpointList',
);

const fineTuningSamplesSchema = stepSamplesSchema
  .extend({
    object: z.literal('fine_tuning.job.samples'),
    id: z.string().describe('The number of the step'),
  })
  .openapi('FineTuningJobSamples');
/** Recorded samples of a step of a fine-tuning job. */
export type FineTuningJobSamples = z.infer<typeof fineTuningSamplesSchema>;

export const fineTuningSamplesListSchema = listOf(fineTuningSamplesSchema).openapi(
  'FineTuningJobSamplesList',
);

/** The answer to a valid grader: the grader itself. */
export const validatedGraderSchema = z
  .object({ grader: z.record(z.string(), z.unknown()) })
  .openapi('ValidatedGrader');

export const graderRunSchema = z
  .object({
    reward: z.number(),
    sub_rewards: z.record(z.string(), z.number()),
    model_grader_token_usage_per_model: z.record(z.string(), z.int()),
    metadata: z.object({
      name: z.string(),
      type: z.string(),
      errors: z.record(z.string(), z.union([z.boolean(), z.string(), z.null()])),
      execution_time: z.number().describe('Seconds'),
      scores: z.record(z.string(), z.number()),
      token_usage: z.int().nullable(),
      sampled_model_name: z.string().nullable(),
    }),
  })
  .openapi('GraderRun');
/** The result of a grader. */
export type GraderRun = z.infer<typeof graderRunSchema>;
