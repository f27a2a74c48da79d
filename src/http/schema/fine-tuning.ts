// The requests of the fine-tuning API. Fields that would change the result are never ignored: a feature that this server lacks
// is refused by name.
import { z } from '@hono/zod-openapi';
import { fieldError } from '../../common/errors.ts';
import { addIssue, addUnsupported, parseInside } from '../../common/schema-issues.ts';
import { OBJECTIVES, type Objective } from '../../contracts/preference-settings.ts';
import {
  extensionFields,
  type Hyperparameter,
  hyperparameterShape,
  hyperparametersOf,
  orAbsent,
} from '../../contracts/training-fields.ts';
import { TRAINING_SETTINGS } from '../../contracts/training-settings.ts';
import type { MetadataFilter } from '../../jobs/job-service.ts';
import { CONSTRAINT_FIELDS } from './constraints.ts';
import { MAX_METADATA_PAIRS, metadataSchema, pageQuery, readBy } from './fields.ts';
import { checkedGraderSchema } from './graders.ts';

function autoOr(row: Hyperparameter) {
  return orAbsent(row, `must be ${row.absent} or ${row.rule}`).nullish();
}

function hyperparametersSchemaOf(objective: Objective, name: string) {
  const rows = hyperparametersOf(objective);
  return z.strictObject(hyperparameterShape('name', autoOr, rows)).openapi(name);
}

const hyperparametersSchema = hyperparametersSchemaOf('supervised', 'FineTuningHyperparameters');
const dpoHyperparametersSchema = hyperparametersSchemaOf('dpo', 'DpoHyperparameters');
const reinforcementHyperparametersSchema = hyperparametersSchemaOf(
  'reinforcement',
  'ReinforcementHyperparameters',
);

/** The hyperparameters of a request; absent, null and `auto` mean the same. */
export type Hyperparameters = z.infer<typeof dpoHyperparametersSchema>;

/** As for graders in Python at OpenAI. Every step's server and trainer read it with the job. */
const MAX_GRADER_BYTES = 256 * 1024;

/** A format of completions, as it was sent and as it is enforced. */
const responseFormatSchema = readBy(
  (json, ctx) => {
    const given = parseInside(CONSTRAINT_FIELDS.response_format.chat, json, ctx);
    return { json: json as Record<string, unknown>, given };
  },
  { type: 'object', description: 'As in chat completions; the samples match it' },
);

const reinforcementSchema = z.strictObject({
  grader: checkedGraderSchema.refine(
    (grader) => JSON.stringify(grader ?? null).length <= MAX_GRADER_BYTES,
    { message: `must have at most ${MAX_GRADER_BYTES} characters` },
  ),
  response_format: responseFormatSchema,
  hyperparameters: reinforcementHyperparametersSchema.nullish(),
});

const methodSchema = z
  .strictObject({
    type: z.enum(OBJECTIVES),
    supervised: z.strictObject({ hyperparameters: hyperparametersSchema.nullish() }).nullish(),
    dpo: z.strictObject({ hyperparameters: dpoHyperparametersSchema.nullish() }).nullish(),
    reinforcement: reinforcementSchema.nullish(),
  })
  .superRefine((method, ctx) => {
    for (const objective of OBJECTIVES) {
      if (objective === method.type || !method[objective]) continue;
      addIssue(ctx, `does not apply, because type is ${method.type}`, [objective]);
    }
    if (method.type !== 'reinforcement' || method.reinforcement) return;
    addIssue(ctx, 'is required: it has the grader', ['reinforcement']);
  })
  .openapi('FineTuningMethod');

const loraMethodSchema = readBy(
  (method, ctx): 'qlora' | 'lora' => {
    if (method === 'qlora' || method === 'lora') return method;
    const refuse = method === 'full' || method === 'dora' ? addUnsupported : addIssue;
    return refuse(ctx, 'must be qlora or lora');
  },
  { type: 'string', enum: ['qlora', 'lora'] },
);

/** The settings that OpenAI's API lacks. */
const extensionSchema = z
  .strictObject({
    ...extensionFields(),
    method: loraMethodSchema,
    dry_run: z.boolean().optional().describe('Plan the job without creating it'),
  })
  .openapi('LorikeetSettings');

/** The settings in `lorikeet`. */
export type Extension = z.infer<typeof extensionSchema>;

/** The body that creates a job. */
export const createJobSchema = z
  .strictObject({
    model: z.string().describe('The base, or an adapter to start from'),
    training_file: z.string(),
    validation_file: z.string().nullish(),
    suffix: z.string().nullish().describe('The name of the adapter'),
    seed: TRAINING_SETTINGS.seed.schema.nullish(),
    metadata: metadataSchema.nullish(),
    method: methodSchema.nullish(),
    hyperparameters: hyperparametersSchema.nullish().describe('Can also be given in method'),
    integrations: z
      .array(z.unknown())
      .superRefine((list, ctx) => {
        if (list.length > 0) addUnsupported(ctx, 'integrations are not supported');
      })
      .nullish(),
    lorikeet: extensionSchema.nullish(),
  })
  .superRefine(({ method, hyperparameters }, ctx) => {
    if (!hyperparameters || !method) return;
    const isGiven = method[method.type]?.hyperparameters;
    if (isGiven) addIssue(ctx, 'are already given in method', ['hyperparameters']);
    if (isGiven || method.type === 'supervised') return;
    addIssue(ctx, `must be given in method.${method.type}`, ['hyperparameters']);
  })
  .openapi('CreateFineTuningJobRequest');

/** A checked body that creates a job. */
export type CreateJobBody = z.infer<typeof createJobSchema>;

const METADATA_PARAMETER = /^metadata(?:\[(.{1,64})\])?$/su;

/** The query that lists jobs. `readMetadataFilter` reads its `metadata[key]` parameters. */
export const jobListQuery = z.looseObject(pageQuery(20)).superRefine((query, ctx) => {
  const unknown = Object.keys(query).filter((name) => {
    return name !== 'after' && name !== 'limit' && !METADATA_PARAMETER.test(name);
  });
  if (unknown.length === 0) return;
  ctx.addIssue({ code: 'unrecognized_keys', keys: unknown, input: query });
});

/** The query that lists events. */
export const eventListQuery = z.strictObject(pageQuery(20));

/** The query that lists samples, by default of one step. */
export const samplesListQuery = z.strictObject(pageQuery(1));

/** The query that lists checkpoints. */
export const checkpointListQuery = z.strictObject(pageQuery(10));

/**
 * Reads `metadata[key]=value` from a query, as OpenAI's clients write it. Returns the pairs that a job must have, null
 * (`metadata=null`) for jobs without metadata, or undefined for all jobs.
 */
export function readMetadataFilter(query: Readonly<Record<string, unknown>>): MetadataFilter {
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    const key = METADATA_PARAMETER.exec(name)?.[1];
    return key === undefined ? [] : [[key, String(value)] as const];
  });
  const { metadata } = query;
  if (pairs.length === 0 && (metadata === 'null' || metadata === '')) return null;
  if (pairs.length > MAX_METADATA_PAIRS || metadata !== undefined) {
    const fault = `must be null or at most ${MAX_METADATA_PAIRS} pairs, as metadata[key]=value`;
    throw fieldError('metadata', fault);
  }
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}
