// The JSON bodies of Tinker's protocol. Clients of other versions send more fields: those that would change a result are refused
// if they are set, all others are ignored.
import { z } from '@hono/zod-openapi';
import { SAMPLING_FIELDS } from '../../contracts/sampling-fields.ts';
import { MAX_RANK } from '../../contracts/training-settings.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';

const id = z.string().max(128);
/** A whole number of the protocol. In its protobuf messages these are int32. */
const int32 = (min: number) =>
  z
    .int()
    .min(min)
    .max(2 ** 31 - 1);
const number = int32(0);
/** Only its remainder matters. */
const seed = z.int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER).nullish();
/** Within one model, the first request has number 1. */
const seq = int32(1);
/** A run's record has room for the metadata of the run and of its checkpoints. */
const MAX_METADATA_BYTES = 16 * 1024;
/** A record of more than 64 levels is not read again. */
const DEEPER_THAN_32 = /^ {66}/m;
const metadata = z
  .record(z.string().max(256), z.unknown())
  .refine((value) => {
    const text = JSON.stringify(value, null, 2);
    return Buffer.byteLength(text) <= MAX_METADATA_BYTES && !DEEPER_THAN_32.test(text);
  }, 'must take at most 16 kB as indented JSON, with 32 levels')
  .nullish();
/** One hour to ten years. */
const ttl = z.int().min(3600).max(315_360_000).nullish();
const path = z.string().min(1).max(256);
const adam = z.literal('adamw', 'must be adamw; this server has no other optimizer');
const optimizer = z.object({ type: adam }).nullish();
/** Tenants cannot read each other's checkpoints. */
const token = z.null('is not supported').optional();

export const createSessionBody = z.object({ user_metadata: metadata }).openapi('TinkerSession');
export const heartbeatBody = z.object({ session_id: id }).openapi('TinkerHeartbeat');
export const anyBody = z.looseObject({});

const loraSchema = z.object({
  rank: z.int().min(1).max(MAX_RANK).describe('Adapters are scaled by 32 / rank'),
  seed,
  train_unembed: z.boolean().default(true),
  train_mlp: z.boolean().default(true),
  train_attn: z.boolean().default(true),
});

export const createModelBody = z
  .object({
    session_id: id,
    model_seq_id: number,
    base_model: z.string().describe("The base, by its name or an operator's alias"),
    user_metadata: metadata,
    lora_config: loraSchema,
    optimizer_config: optimizer,
  })
  .openapi('TinkerModel');

/** The number of a request within its model. */
export const targetBody = z.object({ model_id: id, seq_id: seq });
export const modelBody = z.object({ model_id: id }).openapi('TinkerModelId');

/** The optimizer computes in float32, in which the square of this is still finite. */
const MAX_FACTOR = 1e15;
const factor = z.number().min(0).max(MAX_FACTOR);
const adamParams = z.object({
  learning_rate: factor.default(1e-4),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.95),
  eps: factor.default(1e-12),
  weight_decay: factor.default(0),
  grad_clip_norm: z.number().max(MAX_FACTOR).default(0).describe('0: gradients are not clipped'),
});

export const optimStepBody = z
  .object({
    model_id: id,
    seq_id: seq,
    adam_params: adamParams.optional(),
    optimizer_params: z.object({ type: adam }).nullish(),
  })
  .openapi('TinkerStep');

export const saveWeightsBody = z
  .object({
    model_id: id,
    seq_id: seq,
    path,
    ttl_seconds: ttl,
    overwrite: z.boolean().default(false),
    user_metadata: metadata,
  })
  .openapi('TinkerSave');

export const saveForSamplerBody = z
  .object({
    model_id: id,
    seq_id: seq,
    path: path.nullish().describe('Absent: only the new sampler uses the weights'),
    sampling_session_seq_id: number.nullish(),
    ttl_seconds: ttl,
    user_metadata: metadata,
  })
  .refine(
    ({ path: name, sampling_session_seq_id: sampler }) => name != null || sampler != null,
    'path or sampling_session_seq_id is required',
  )
  .openapi('TinkerSaveForSampler');

export const loadWeightsBody = z
  .union([
    z.object({
      session_id: id,
      model_seq_id: number,
      path,
      optimizer: z.boolean(),
      user_metadata: metadata,
      optimizer_config: optimizer,
      weights_access_token: token,
    }),
    z.object({ model_id: id, seq_id: seq, path, optimizer: z.boolean() }),
  ])
  .openapi('TinkerLoad');

const noSession = z.null('is not supported: a copy has its own session').optional();

export const copyWeightsBody = z
  .object({
    source_path: path,
    destination_project_id: z
      .string()
      .nullish()
      .describe('Ignored: there are no projects, and the copy belongs to the same tenant'),
    session_id: noSession,
    model_seq_id: noSession,
    ttl_seconds: ttl,
    weights_access_token: token,
  })
  .openapi('TinkerCopy');

export const samplingSessionBody = z
  .object({
    session_id: id,
    sampling_session_seq_id: number,
    base_model: z.string().nullish(),
    model_path: path.nullish(),
  })
  .openapi('TinkerSampler');

export const samplingSessionIdBody = z
  .object({ sampling_session_id: id })
  .openapi('TinkerSamplerId');

const chunk = z.object(
  { type: z.literal('encoded_text').default('encoded_text'), tokens: z.array(number) },
  'must be encoded_text; this base reads only text',
);
const prompt = z.object({ chunks: z.array(chunk).min(1) });
const stop = z.union([z.string(), z.array(z.string()), z.array(number)]).nullish();
/** As many as the completions route allows. */
const MAX_TOP = 20;

const indices = z.array(number).nullish();
const targets = z
  .object({
    data: z.array(int32(-1)),
    dtype: z.literal('int64'),
    shape: z.array(number).length(2),
    sparse_crow_indices: indices,
    sparse_col_indices: indices,
  })
  .describe(
    `At most ${MAX_TOP} tokens to score in place of each token of the prompt but the first; -1 asks for nothing`,
  );

export const sampleBody = z
  .object({
    sampling_session_id: id.nullish(),
    seq_id: number.nullish(),
    base_model: z.string().nullish(),
    model_path: path.nullish(),
    num_samples: z
      .int()
      .min(1)
      .max(DEFAULT_LIMITS.maxChoices)
      .default(1)
      .describe(`At most ${DEFAULT_LIMITS.maxChoices}, as n of a completion`),
    prompt,
    sampling_params: z.object({
      max_tokens: int32(1).nullish(),
      seed,
      stop: stop.describe('Absent: the end token; an empty list: no stop at all'),
      temperature: SAMPLING_FIELDS.temperature.schema.default(1),
      top_k: int32(-1).default(-1),
      top_p: SAMPLING_FIELDS.top_p.schema.default(1),
    }),
    prompt_logprobs: z.boolean().nullish(),
    topk_prompt_logprobs: z.int().min(0).max(MAX_TOP).default(0),
    topk_sample_logprobs: z.int().min(0).max(MAX_TOP).default(0),
    prompt_logprobs_last_n: int32(1).nullish(),
    target_prompt_logprobs: targets.nullish(),
    prompt_alt_tokens_k: z.literal(0, 'is not supported').default(0),
  })
  .openapi('TinkerSample');

export const ttlBody = z
  .object({
    ttl_seconds: ttl.describe('Seconds from now, an hour to ten years; null: never'),
  })
  .openapi('TinkerTtl');
export const retrieveBody = z.object({ request_id: id }).openapi('TinkerRetrieve');
export const weightsInfoBody = z.object({ tinker_path: path }).openapi('TinkerWeightsInfo');

/** A run's record takes up to 1 MB, and all records of a page are read before the answer. */
const MAX_PAGE = 1000;
const integerParam = z.coerce.number().int().min(0);
/** Clients send more parameters, which have no meaning on one server. */
export const pageQuery = z.object({
  limit: integerParam.max(MAX_PAGE).default(20),
  offset: integerParam.max(1_000_000).default(0),
});
export const checkpointQuery = pageQuery.extend({
  after: z
    .string()
    .regex(/^tinker-[0-9a-f]{24}-\d{1,6}@\d{1,9}$/, 'is not the cursor.after of a page')
    .transform((text) => {
      const [name, version] = text.split('@');
      return { name: name!, version: Number(version) };
    })
    .optional(),
});

/** The parameters of a step that sets none. */
export const DEFAULT_ADAM = adamParams.parse({});
