// What requests of the fine-tuning API may say. What is not built is refused by name, and nothing is ignored that would
// change the result.
import { z } from '@hono/zod-openapi';
import {
  extensionShape,
  HYPERPARAMETERS,
  type Hyperparameter,
} from '../../contracts/training-fields.ts';
import { GATE_SETTINGS, TRAINING_SETTINGS } from '../../contracts/training-settings.ts';
import { REFUSED } from './field-table.ts';
import { fail, integerText, type Refine } from './fields.ts';

const UNSUPPORTED = 'unsupported_parameter';
const MAX_METADATA_PAIRS = 16;
const MAX_METADATA_KEY = 64;
const MAX_METADATA_VALUE = 512;
/** Pages of OpenAI's lists. */
const MAX_LIMIT = 100;

function autoOr({ schema, rule }: Hyperparameter) {
  return z.union([z.literal('auto'), schema], { error: `must be auto or ${rule}` }).nullish();
}

const hyperparametersSchema = z
  .strictObject(
    Object.fromEntries(HYPERPARAMETERS.map((row) => [row.name, autoOr(row)])) as Record<
      Hyperparameter['name'],
      ReturnType<typeof autoOr>
    >,
  )
  .openapi('FineTuningHyperparameters');

/** The numbers of a request; absent, null and `auto` are the same. */
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

/** A number that a gate may use in the place of its own limit. */
function gateLimit<T extends z.ZodType>(row: { schema: T; help: string; default: number }) {
  return row.schema.optional().openapi({ description: `${row.help}; default ${row.default}` });
}

/** Settings that OpenAI's API has no fields for. */
const extensionSchema = z
  .strictObject({
    ...extensionShape(),
    method: loraMethodSchema,
    gate: z
      .strictObject({
        margin: gateLimit(GATE_SETTINGS.margin),
        max_forgetting: gateLimit(GATE_SETTINGS.maxForgetting),
      })
      .optional(),
    dry_run: z.boolean().optional().openapi({ description: 'Plan the job, and make none' }),
  })
  .openapi('LorikeetSettings');

/** The `lorikeet` object of a request. */
export type Extension = z.infer<typeof extensionSchema>;

export const createJobSchema = z
  .strictObject({
    model: z.string().openapi({ description: 'The base, or an adapter of it to start from' }),
    training_file: z.string(),
    validation_file: z.string().nullish(),
    suffix: z.string().nullish().openapi({ description: 'The name of the adapter' }),
    seed: TRAINING_SETTINGS.seed.schema.nullish(),
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
