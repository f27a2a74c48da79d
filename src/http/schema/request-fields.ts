// The table of all fields that chat and completion requests may have. The schemas, the refusals, the API's document and the
// table in docs/request-fields.md follow from it. A field that is missing from the table is refused by name.

import { z } from '@hono/zod-openapi';
import { MAX_COUNT } from '../../common/max-count.ts';
import { addIssue, type Refine } from '../../common/schema-issues.ts';
import {
  mapSamplingFields,
  SAMPLING_FIELDS,
  type SamplingFieldName,
} from '../../contracts/sampling-fields.ts';
import type { HttpLimits } from '../wire/limits.ts';
import { CONSTRAINT_FIELDS, type ConstraintFields, checkSingleConstraint } from './constraints.ts';
import {
  both,
  type FieldRow,
  fieldsOf,
  inert,
  LOGIT_BIAS_FORM,
  maxTokenId,
  only,
  onlyValue,
  promptsForm,
  REFUSED,
  readBy,
  readOr,
  refused,
  rows,
  tokenIdsForm,
  toLogitBias,
  toPrompts,
  toStopStrings,
  toTemplateArguments,
  toTokenIds,
} from './fields.ts';
import { TOOL_FIELDS } from './tools.ts';

/** The bounds of a model and of the server. */
export interface SchemaBounds {
  vocabSize: number;
  limits: HttpLimits;
}

/** A random salt of 256 bits has 43 characters in base64. */
const MAX_SALT_LENGTH = 1024;
/** The graph computes this many. */
const MAX_LOGPROBS = 20;

/** The fields of `stream_options`. */
export const STREAM_OPTION_FIELDS = {
  include_usage: both(z.boolean().nullish(), 'The last chunk reports the usage'),
  continuous_usage_stats: both(
    z.boolean().nullish(),
    'With include_usage, every chunk reports the usage of its choice so far',
  ),
  include_obfuscation: inert('Chunks are not padded'),
} as const satisfies Record<string, FieldRow>;

const modalities = only('["text"]', (value) => {
  return Array.isArray(value) && value.every((item) => item === 'text');
});
const boolean = z.boolean().nullish();
const text = { type: 'string' } as const;
const texts = { type: 'array', items: text } as const;

/** The fields that mean the same in every request that generates text. */
export const GENERATION_NAMES = [
  ...(Object.keys(SAMPLING_FIELDS) as SamplingFieldName[]),
  'logit_bias',
  'seed',
  'allowed_token_ids',
  'structured_outputs',
  'lorikeet',
  'bad_words',
  'min_tokens',
  'stop_token_ids',
  'ignore_eos',
  'chat_template_kwargs',
  'cache_salt',
  'cache_prompt',
  'service_tier',
] as const;

/** Returns the table with the bounds of this server's model. */
export function requestFields({ vocabSize, limits }: SchemaBounds) {
  return {
    ...promptFields({ vocabSize, limits }),
    ...PREFIX_FIELDS,
    ...lengthFields({ vocabSize, limits }),
    ...samplingFields({ vocabSize, limits }),
    ...outputFields({ vocabSize, limits }),
    ...TOOL_FIELDS,
    ...ROUTING_FIELDS,
    ...INERT_FIELDS,
    ...REFUSED_FIELDS,
  };
}

/** Adds issues for combinations of fields that are not allowed. */
export function checkTogether(
  body: {
    stream?: boolean | null | undefined;
    stream_options?: unknown;
    prompt_logprobs?: number | null | undefined;
  } & ConstraintFields,
  ctx: Refine,
): void {
  checkSingleConstraint(body, ctx);
  if (body.stream_options != null && !body.stream) {
    addIssue(ctx, 'needs "stream": true', ['stream_options']);
  }
  if (body.prompt_logprobs != null && body.stream) {
    addIssue(ctx, 'is not available with "stream": true', ['prompt_logprobs']);
  }
}

function promptFields({ vocabSize, limits }: SchemaBounds) {
  return {
    model: both(z.string(), 'The base or an adapter, as `GET /v1/models` lists them'),
    messages: {
      chat: z
        .array(z.unknown())
        .min(1)
        .max(limits.maxMessages)
        .openapi({ type: 'array', items: { $ref: '#/components/schemas/ChatMessage' } }),
      help: 'The conversation, rendered by the chat template of the base',
    },
    prompt: {
      completions: z
        .unknown()
        .transform(toPrompts({ vocabSize, maxPrompts: limits.maxPrompts }))
        .openapi(promptsForm(vocabSize)),
      help: `Text, token ids, or up to ${limits.maxPrompts} of either`,
    },
    prediction: {
      chat: z.unknown().optional(),
      completions: REFUSED,
      help: 'Text that the answer probably repeats, as {"type": "content", "content": …}; changes only how fast it comes',
    },
    add_generation_prompt: {
      chat: boolean,
      help: 'Whether the template opens the assistant’s turn (default: true)',
    },
    continue_final_message: {
      chat: boolean,
      help: 'Whether the answer continues the last message; not with add_generation_prompt',
    },
    chat_template_kwargs: {
      chat: readOr({}, toTemplateArguments, { type: 'object', additionalProperties: true }),
      help: 'Variables of the chat template: strings, numbers, booleans and null',
    },
    reasoning_effort: {
      chat: z.string().max(32).nullish(),
      help: 'Passed to the chat template, which may ignore it',
    },
    verbosity: {
      chat: z.enum(['low', 'medium', 'high']).nullish(),
      completions: onlyValue('medium'),
      help: 'Passed to the chat template, which may ignore it; in completions only medium',
    },
    add_special_tokens: {
      chat: onlyValue(false),
      completions: boolean,
      help: 'Whether the tokenizer adds its special tokens to a text prompt (default: true; in chat the template writes them)',
    },
    truncate_prompt_tokens: both(
      z
        .int()
        .min(-1)
        .max(MAX_COUNT)
        .refine((count) => count !== 0, 'must be -1 or at least 1')
        .nullish(),
      'Cuts longer prompts to this many tokens; -1 cuts to what fits the context together with max_tokens',
    ),
    truncation_side: both(
      z.enum(['left', 'right']).nullish(),
      'The side that is cut (default: left)',
    ),
    echo: { chat: onlyValue(false), completions: boolean, help: 'The text begins with the prompt' },
  } as const satisfies Record<string, FieldRow>;
}

/** Fields that control the prefix cache. */
const PREFIX_FIELDS = {
  cache_salt: both(
    z.string().min(1).max(MAX_SALT_LENGTH).nullish(),
    `Only requests with the same salt share cached prefixes; at most ${MAX_SALT_LENGTH} characters`,
  ),
  cache_prompt: both(
    boolean,
    'false: the request neither uses nor fills the prefix cache (default: true)',
  ),
} as const satisfies Record<string, FieldRow>;

function lengthFields({ vocabSize, limits }: SchemaBounds) {
  const { maxStopTokenIds, maxStopBytes } = limits;
  const anyInt = z.int().min(1).max(MAX_COUNT).nullish();
  return {
    max_tokens: {
      chat: anyInt,
      completions: z.int().min(0).max(MAX_COUNT).nullish(),
      help: 'Default: the rest of the context in chat, 16 in completions; 0 only with echo',
    },
    max_completion_tokens: { chat: anyInt, help: 'The same as max_tokens' },
    min_tokens: both(
      z.int().min(0).max(MAX_COUNT).nullish(),
      'No end-of-sequence token, stop token or stop string ends the answer before this many tokens',
    ),
    stop: both(
      readOr([], toStopStrings({ maxBytes: maxStopBytes }), { anyOf: [text, texts] }),
      `One or more strings that end the answer, at most ${maxStopBytes} bytes together`,
    ),
    stop_token_ids: both(
      readOr([], toTokenIds({ vocabSize, maxCount: maxStopTokenIds }), tokenIdsForm(vocabSize)),
      `Tokens that end the answer, at most ${maxStopTokenIds}`,
    ),
    include_stop_str_in_output: both(
      boolean,
      'Whether the answer includes the stop string or the text of the stop token',
    ),
    ignore_eos: both(boolean, 'Whether to continue past the end-of-sequence token'),
    n: both(
      z.int().min(1).max(limits.maxChoices).nullish(),
      `Answers to one prompt, at most ${limits.maxChoices}`,
    ),
    best_of: {
      chat: onlyValue(1),
      completions: z.int().min(1).max(limits.maxChoices).nullish(),
      help: 'Only the value of n',
    },
  } as const satisfies Record<string, FieldRow>;
}

function samplingFields({ vocabSize, limits }: SchemaBounds) {
  const tokenIds = toTokenIds({ vocabSize, maxCount: vocabSize });
  const { top_k: topK } = SAMPLING_FIELDS;
  return {
    ...mapSamplingFields(({ schema, help }) => both(schema.nullish(), help)),
    top_k: both(topK.schema.max(vocabSize).nullish(), topK.help),
    logit_bias: both(
      readOr(
        new Map<number, number>(),
        toLogitBias({ vocabSize, maxCount: limits.maxLogitBiases }),
        LOGIT_BIAS_FORM,
      ),
      `Token ids with a bias of -100 to 100 each, at most ${limits.maxLogitBiases}`,
    ),
    seed: both(
      z
        .number()
        .min(-(2 ** 63))
        .max(2 ** 63)
        .refine(Number.isInteger, 'must be a whole number')
        .nullish(),
      'Fixes the random numbers of sampling, 64 bits; the seeds of further choices are derived from it; -1: as without one',
    ),
    allowed_token_ids: both(
      readBy((value, ctx) => {
        if (Array.isArray(value) && value.length > 0) return tokenIds(value, ctx);
        return addIssue(ctx, 'must be a non-empty array of token ids');
      }, tokenIdsForm(vocabSize)),
      'Only these tokens are generated',
    ),
    bad_words: both(
      readOr([], toStopStrings({ maxBytes: limits.maxBadWordBytes }), texts),
      `Words that are not generated, with or without a leading space, at most ${limits.maxBadWordBytes} bytes together`,
    ),
  } as const satisfies Record<string, FieldRow>;
}

function outputFields({ vocabSize }: SchemaBounds) {
  const tokenId = z.int().min(0).max(maxTokenId(vocabSize));
  return {
    stream: both(boolean, 'Server-sent events'),
    stream_options: both(
      z.strictObject(fieldsOf(STREAM_OPTION_FIELDS, 'chat')).nullish(),
      'Only with stream',
    ),
    logprobs: {
      chat: boolean,
      completions: z.int().min(0).max(MAX_LOGPROBS).nullish(),
      help: `true or false in chat; in completions the number of alternatives, at most ${MAX_LOGPROBS}`,
    },
    top_logprobs: {
      chat: z.int().min(0).max(MAX_LOGPROBS).nullish(),
      help: `The number of alternatives, at most ${MAX_LOGPROBS}; needs logprobs`,
    },
    prompt_logprobs: both(
      z.int().min(0).max(MAX_LOGPROBS).nullish(),
      `Scores the prompt with this many alternatives, at most ${MAX_LOGPROBS}; not with stream`,
    ),
    prompt_logprob_token_ids: {
      completions: z.array(z.array(tokenId).max(MAX_LOGPROBS)).nullish(),
      help: `For each token of the prompt but the first, at most ${MAX_LOGPROBS} tokens to score in its place; needs prompt_logprobs, and one prompt`,
    },
    return_tokens_as_token_ids: both(boolean, 'Whether logprobs name tokens as token_id:N'),
    return_token_ids: both(
      boolean,
      'Whether the response has prompt_token_ids and each choice token_ids, with the token that ended it',
    ),
    skip_special_tokens: both(
      boolean,
      'Whether control tokens are left out of the text (default: true)',
    ),
    ...CONSTRAINT_FIELDS,
    modalities: both(modalities, 'Only text'),
  } as const satisfies Record<string, FieldRow>;
}

/** Fields that decide which version of a split alias a request gets. Values that are not strings are ignored. */
const ROUTING_FIELDS = {
  user: both(
    z.unknown().optional(),
    'Requests of one user get the same version of a split alias; never logged',
  ),
  prompt_cache_key: both(
    z.unknown().optional(),
    'Without user, requests with the same key get the same version of a split alias; never logged',
  ),
} as const satisfies Record<string, FieldRow>;

/** Fields that clients send but that do not affect the completion. */
const INERT_FIELDS = {
  ...rows(['metadata', 'safety_identifier'], inert('Notes of the client; never logged')),
  store: inert('Nothing is stored'),
  service_tier: inert('There is only one tier'),
  ...rows(
    ['prompt_cache_options', 'prompt_cache_retention'],
    inert('The prefix cache keeps the prefixes that were used last'),
  ),
  ...rows(
    ['include_reasoning', 'separate_reasoning', 'stream_reasoning'],
    inert('Reasoning is not separated from the answer'),
  ),
  session_id: inert('Requests are independent'),
} as const satisfies Record<string, FieldRow>;

const REFUSED_FIELDS = {
  ...rows(['audio', 'web_search_options', 'moderation'], refused('Services of OpenAI')),
  ...rows(['suffix', 'documents', 'chat_template'], refused('Not supported')),
  ...rows(
    ['adapter_id', 'adapter_source', 'lora', 'lora_path', 'lora_request'],
    refused('Use model to name an adapter'),
  ),
  ...rows(
    ['use_beam_search', 'early_stopping'],
    both(onlyValue(false), 'Beam search is not supported: only false'),
  ),
  length_penalty: both(onlyValue(1), 'Beam search is not supported: only 1'),
  typical_p: both(onlyValue(1), 'Only 1, which turns it off'),
  ...rows(
    ['logits_processors', 'logprob_token_ids', 'repetition_detection', 'thinking_token_budget'],
    refused('Fields of vLLM; not supported'),
  ),
  ...rows(
    ['mirostat', 'dry_multiplier', 'xtc_probability', 'top_a'],
    both(onlyValue(0), 'Only 0, which turns it off'),
  ),
  spaces_between_special_tokens: both(onlyValue(true), 'Only true'),
  ...rows(
    [
      'return_prompt_text',
      'return_token_offsets',
      'return_hidden_states',
      'no_stop_trim',
      'watermarking',
    ],
    both(onlyValue(false), 'Only false'),
  ),
  priority: both(onlyValue(0), 'Only 0'),
  stream_interval: both(onlyValue(1), 'Only 1: a chunk for each token'),
  ...rows(['request_id'], refused('Send the header x-request-id instead')),
  ...rows(
    [
      'prompt_embeds',
      'mm_processor_kwargs',
      'media_io_kwargs',
      'kv_transfer_params',
      'ec_transfer_params',
      'vllm_xargs',
    ],
    refused('Fields of vLLM; not supported'),
  ),
} as const satisfies Record<string, FieldRow>;
