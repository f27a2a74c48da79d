// What requests of the fine-tuning API may say. What is not built is refused by name, and nothing is ignored that would
// change the result.
import { z } from '@hono/zod-openapi';
import { TARGET_LIMITS } from '../../contracts/training.ts';
import { REFUSED } from './field-table.ts';
import { fail, integerText, type Refine } from './fields.ts';

const UNSUPPORTED = 'unsupported_parameter';
/** OpenAI's. */
const MAX_SEED = 2_147_483_647;
const MAX_METADATA_PAIRS = 16;
const MAX_METADATA_KEY = 64;
const MAX_METADATA_VALUE = 512;
const MAX_EPOCHS = 50;
const MAX_BATCH = 256;
/** The trainer's. */
const MAX_RANK = 512;
const TARGETS_RULE = `must be all-linear, a regular expression of up to ${TARGET_LIMITS.patternLength} characters, or a list of up to ${TARGET_LIMITS.names} module names of up to ${TARGET_LIMITS.nameLength}`;
/** Pages of OpenAI's lists. */
const MAX_LIMIT = 100;

function autoOr(min: number, max: number) {
  return z
    .union([z.literal('auto'), z.int().min(min).max(max)], {
      error: `must be auto or a whole number from ${min} to ${max}`,
    })
    .nullish();
}

const hyperparametersSchema = z
  .strictObject({
    n_epochs: autoOr(1, MAX_EPOCHS),
    batch_size: autoOr(1, MAX_BATCH),
    learning_rate_multiplier: z
      .union([z.literal('auto'), z.number().positive()], { error: 'must be auto or above 0' })
      .nullish(),
  })
  .openapi('FineTuningHyperparameters');

export type Hyperparameters = z.infer<typeof hyperparametersSchema>;

const METHODS = ['supervised', 'dpo', 'reinforcement'];

const methodSchema = z
  .strictObject({
    type: z
      .unknown()
      .superRefine((type, ctx) => {
        if (type === 'supervised') return;
        if (typeof type !== 'string') fail(ctx, 'must be supervised');
        const isKnown = METHODS.includes(type as string);
        fail(ctx, 'only supervised is supported', isKnown ? { code: UNSUPPORTED } : {});
      })
      .openapi({ type: 'string', enum: ['supervised'] }),
    supervised: z.strictObject({ hyperparameters: hyperparametersSchema.nullish() }).nullish(),
    dpo: REFUSED,
    reinforcement: REFUSED,
  })
  .openapi('FineTuningMethod');

/** Its bounds in pairs and characters. */
function checkMetadata(metadata: Record<string, string>, ctx: Refine): void {
  const pairs = Object.entries(metadata);
  if (pairs.length > MAX_METADATA_PAIRS) fail(ctx, `at most ${MAX_METADATA_PAIRS} pairs`);
  for (const [key, value] of pairs) {
    if (key.length > MAX_METADATA_KEY)
      fail(ctx, `keys have at most ${MAX_METADATA_KEY} characters`);
    if (value.length <= MAX_METADATA_VALUE) continue;
    fail(ctx, `values have at most ${MAX_METADATA_VALUE} characters`);
  }
}

const loraMethodSchema = z
  .unknown()
  .optional()
  .transform((method, ctx): 'qlora' | 'lora' | undefined => {
    if (method === undefined || method === 'qlora' || method === 'lora') return method;
    const isKnown = method === 'full' || method === 'dora';
    return fail(ctx, 'must be qlora or lora', isKnown ? { code: UNSUPPORTED } : {});
  })
  .openapi({ type: 'string', enum: ['qlora', 'lora'] });

/** What OpenAI's API has no fields for. */
const extensionSchema = z
  .strictObject({
    method: loraMethodSchema,
    rank: z.int().min(1).max(MAX_RANK).optional(),
    alpha: z.number().positive().optional(),
    targets: z
      .union(
        [
          z.string().min(1).max(TARGET_LIMITS.patternLength),
          z.array(z.string().min(1).max(TARGET_LIMITS.nameLength)).min(1).max(TARGET_LIMITS.names),
        ],
        { error: TARGETS_RULE },
      )
      .optional(),
    rslora: z.boolean().optional(),
    dropout: z.number().min(0).lt(1).optional(),
    gate: z
      .strictObject({
        margin: z.number().optional().openapi({
          description: 'Nats by which the validation loss must lie below the base’s; default 0',
        }),
        max_forgetting: z.number().positive().optional().openapi({
          description: 'Nats per token by which the loss on a fixed text may rise',
        }),
      })
      .optional(),
    dry_run: z.boolean().optional().openapi({ description: 'Plan the job, and make none' }),
  })
  .openapi('LorikeetSettings');

export type Extension = z.infer<typeof extensionSchema>;

export const createJobSchema = z
  .strictObject({
    model: z.string().openapi({ description: 'The base, or an adapter of it to start from' }),
    training_file: z.string(),
    validation_file: z.string().nullish(),
    suffix: z.string().nullish().openapi({ description: 'The name of the adapter' }),
    seed: z.int().min(0).max(MAX_SEED).nullish(),
    metadata: z.record(z.string(), z.string()).superRefine(checkMetadata).nullish(),
    method: methodSchema.nullish(),
    hyperparameters: hyperparametersSchema.nullish().openapi({ description: 'Or in method' }),
    integrations: z
      .array(z.unknown())
      .superRefine((list, ctx) => {
        if (list.length > 0) fail(ctx, 'integrations are not supported', { code: UNSUPPORTED });
      })
      .nullish(),
    lorikeet: extensionSchema.nullish(),
  })
  .superRefine(({ method, hyperparameters }, ctx) => {
    if (!method?.supervised?.hyperparameters || !hyperparameters) return;
    fail(ctx, 'are in method already', { path: ['hyperparameters'] });
  })
  .openapi('CreateFineTuningJobRequest');

export type CreateJobBody = z.infer<typeof createJobSchema>;

const page = (limit: number) => ({
  after: z.string().max(128).optional(),
  limit: integerText(1, MAX_LIMIT).default(limit),
});

/** Pairs of `metadata[key]` are the filter's (`metadata-filter.ts`). */
export const jobListSchema = z.looseObject(page(20)).superRefine((query, ctx) => {
  const unknown = Object.keys(query).filter((name) => {
    return name !== 'after' && name !== 'limit' && !name.startsWith('metadata');
  });
  if (unknown.length === 0) return;
  ctx.addIssue({ code: 'unrecognized_keys', keys: unknown, input: query });
});
export const eventListSchema = z.strictObject(page(20));
export const checkpointListSchema = z.strictObject(page(10));
