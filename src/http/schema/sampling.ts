// The fields that chat and completions share, with their bounds, and what they mean to the engine.
// Bounds are checked before anything is tokenized.
import { createHash } from 'node:crypto';
import { z } from '@hono/zod-openapi';
import type { GenerationRequest, SamplingParams } from '../../generation.ts';
import type { HttpLimits } from '../limits.ts';
import { fail, isTokenId, type Refine, toLogitBias, toStopStrings } from './fields.ts';

export interface SchemaBounds {
  vocabSize: number;
  limits: HttpLimits;
}

/** Below the smallest normal float32, dividing logits by it overflows: greedy. */
const SMALLEST_TEMPERATURE = 2 ** -126;

const KNOWN_UNSUPPORTED = [
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'functions',
  'function_call',
  'audio',
  'prediction',
  'web_search_options',
  'suffix',
  // Constrained decoding, in the spellings of other servers.
  'grammar',
  'regex',
  'json_schema',
  'structured_outputs',
  'guided_json',
  'guided_regex',
  'guided_choice',
  'guided_grammar',
  // Adapters are named by `model`; elsewhere they would be ignored silently.
  'adapter_id',
  'adapter_source',
  'lora',
  'lora_path',
] as const;

/** Refused by name: ignoring one would change what the caller gets. null, [] and {} ask for nothing. */
const unsupported = z
  .unknown()
  .optional()
  .refine(asksForNothing, {
    message: 'is not supported by this server',
    params: { code: 'unsupported_parameter' },
  })
  .openapi({ description: 'Not supported: refused with 400 unsupported_parameter' });

function asksForNothing(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

const unsupportedFields = Object.fromEntries(
  KNOWN_UNSUPPORTED.map((name) => [name, unsupported]),
) as Record<(typeof KNOWN_UNSUPPORTED)[number], typeof unsupported>;

function only(accepted: string, isAccepted: (value: unknown) => boolean) {
  return z
    .unknown()
    .optional()
    .refine((value) => value === undefined || value === null || isAccepted(value), {
      message: `only ${accepted} is supported by this server`,
      params: { code: 'unsupported_parameter' },
    })
    .openapi({ description: `Only ${accepted} is supported` });
}

const responseFormat = only('{"type":"text"}', (value) => {
  return typeof value === 'object' && (value as { type?: unknown }).type === 'text';
});

const modalities = only('["text"]', (value) => {
  return Array.isArray(value) && value.every((item) => item === 'text');
});

export function samplingFields({ vocabSize, limits }: SchemaBounds) {
  const stopTokenIds = z
    .array(z.unknown())
    .max(limits.maxStopTokenIds)
    .refine((ids) => ids.every((id) => isTokenId(id, vocabSize)), {
      message: `expected token ids in [0, ${vocabSize})`,
    })
    .transform((ids) => ids as number[])
    .openapi({ type: 'array', items: { type: 'integer' } });
  return {
    model: z
      .string()
      .openapi({ description: 'The base or an adapter, as `GET /v1/models` lists them' }),
    n: z.int().min(1).max(limits.maxChoices).nullish(),
    temperature: z.number().min(0).max(2).nullish(),
    top_p: z.number().gt(0).max(1).nullish(),
    top_k: z.int().min(-1).max(vocabSize).nullish(),
    min_p: z.number().min(0).max(1).nullish(),
    presence_penalty: z.number().min(-2).max(2).nullish(),
    frequency_penalty: z.number().min(-2).max(2).nullish(),
    repetition_penalty: z.number().gt(0).nullish(),
    logit_bias: z
      .unknown()
      .optional()
      .transform(toLogitBias({ vocabSize, maxCount: limits.maxLogitBiases }))
      .openapi({ type: 'object', additionalProperties: { type: 'number' } }),
    stop: z
      .unknown()
      .optional()
      .transform(
        toStopStrings({ maxCount: limits.maxStopStrings, maxLength: limits.maxStopLength }),
      )
      .openapi({ anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] }),
    stop_token_ids: stopTokenIds.nullish(),
    ignore_eos: z
      .boolean()
      .nullish()
      .openapi({ description: 'Go on past the end-of-sequence token (for benchmarks)' }),
    seed: z.int().min(0).nullish(),
    stream: z.boolean().nullish(),
    stream_options: z
      .object({
        include_usage: z.boolean().nullish(),
        include_obfuscation: z.boolean().nullish(),
      })
      .nullish(),
    response_format: responseFormat,
    modalities,
    ...unsupportedFields,
    user: z.unknown().optional(),
    metadata: z.unknown().optional(),
    safety_identifier: z.unknown().optional(),
    store: z.unknown().optional(),
    service_tier: z.unknown().optional(),
    prompt_cache_key: z.unknown().optional(),
  };
}

type SamplingFields = z.output<z.ZodObject<ReturnType<typeof samplingFields>>>;

/** What no single field can tell. */
export function checkTogether(
  body: { stream?: boolean | null | undefined; stream_options?: unknown },
  ctx: Refine,
): void {
  if (body.stream_options != null && !body.stream) {
    fail(ctx, 'needs "stream": true', { path: ['stream_options'] });
  }
}

export interface SequencePlan {
  promptIds: readonly number[];
  maxTokens: number;
  topLogprobs: number | undefined;
  promptTopLogprobs?: number | undefined;
}

/** One request for the engine per choice: they differ in their seeds only. */
export function toGenerationRequests(
  body: SamplingFields,
  model: { eosTokenIds: readonly number[] },
  plan: SequencePlan,
): GenerationRequest[] {
  const stopTokenIds = [
    ...(body.ignore_eos ? [] : model.eosTokenIds),
    ...(body.stop_token_ids ?? []),
  ];
  const { promptIds, maxTokens, promptTopLogprobs } = plan;
  const sampling = toSamplingParams(body, plan.topLogprobs);
  return Array.from({ length: body.n ?? 1 }, (_, k) => ({
    promptIds,
    maxTokens,
    stopTokenIds,
    sampling: body.seed == null ? sampling : { ...sampling, seed: seedOfChoice(body.seed, k) },
    ...(promptTopLogprobs !== undefined ? { promptTopLogprobs } : {}),
  }));
}

const SEED_BYTES = 6;

/** The first choice has the seed itself; the others have hashes of it and of their index, 48 bits. */
function seedOfChoice(seed: number, choice: number): number {
  if (choice === 0) return seed;
  return createHash('sha256').update(`${seed} ${choice}`).digest().readUIntBE(0, SEED_BYTES);
}

function toSamplingParams(body: SamplingFields, topLogprobs: number | undefined): SamplingParams {
  const temperature = body.temperature ?? 1;
  return {
    temperature: temperature < SMALLEST_TEMPERATURE ? 0 : temperature,
    topK: Math.max(body.top_k ?? 0, 0),
    topP: body.top_p ?? 1,
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    logitBias: body.logit_bias,
    ...(topLogprobs !== undefined ? { topLogprobs } : {}),
  };
}
