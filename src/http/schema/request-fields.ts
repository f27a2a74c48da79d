// Every field that requests of chat and completions may have: a row. The schemas, the refusals, the API's document and the
// table in docs/api.md follow from here; a field in no row is refused by its name.
import { z } from '@hono/zod-openapi';
import type { HttpLimits } from '../limits.ts';
import {
  both,
  type FieldRow,
  INERT,
  inert,
  only,
  onlyValue,
  refused,
  rows,
} from './field-table.ts';
import {
  fail,
  type Refine,
  toLogitBias,
  toPrompts,
  toStopStrings,
  toTemplateArguments,
  toTokenIds,
} from './fields.ts';

export interface SchemaBounds {
  vocabSize: number;
  limits: HttpLimits;
}

/** As many as the graph reports. */
const MAX_LOGPROBS = 20;

export const STREAM_OPTION_FIELDS = {
  include_usage: both(z.boolean().nullish(), 'A last chunk holds the usage'),
  continuous_usage_stats: both(
    z.boolean().nullish(),
    'With include_usage, every chunk holds the usage so far, that of its own choice',
  ),
  include_obfuscation: inert('Chunks are not padded'),
} as const satisfies Record<string, FieldRow>;

const responseFormat = only('{"type":"text"}', (value) => {
  return typeof value === 'object' && (value as { type?: unknown }).type === 'text';
});
const modalities = only('["text"]', (value) => {
  return Array.isArray(value) && value.every((item) => item === 'text');
});
const plainText = { response_format: both(responseFormat, 'Only text; JSON modes are refused') };
const boolean = z.boolean().nullish();
const text = { type: 'string' } as const;
const texts = { type: 'array', items: text } as const;
const ids = { type: 'array', items: { type: 'integer' } } as const;

/** The table, with the bounds of this server's model. */
export function requestFields({ vocabSize, limits }: SchemaBounds) {
  return {
    ...promptFields({ vocabSize, limits }),
    ...lengthFields({ vocabSize, limits }),
    ...samplingFields({ vocabSize, limits }),
    ...outputFields(),
    ...INERT_FIELDS,
    ...REFUSED_FIELDS,
  };
}

/** Adds what no single field can tell. */
export function checkTogether(
  body: {
    stream?: boolean | null | undefined;
    stream_options?: unknown;
    prompt_logprobs?: number | null | undefined;
  },
  ctx: Refine,
): void {
  if (body.stream_options != null && !body.stream) {
    fail(ctx, 'needs "stream": true', { path: ['stream_options'] });
  }
  if (body.prompt_logprobs != null && body.stream) {
    fail(ctx, 'is not available with "stream": true', { path: ['prompt_logprobs'] });
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
        .openapi({ anyOf: [text, texts, ids, { type: 'array', items: ids }] }),
      help: `Text, token ids, or up to ${limits.maxPrompts} of either`,
    },
    add_generation_prompt: {
      chat: boolean,
      help: 'Whether the template opens the turn of the assistant (default: true)',
    },
    continue_final_message: {
      chat: boolean,
      help: 'Whether the answer goes on with the last message; not with add_generation_prompt',
    },
    chat_template_kwargs: {
      chat: z
        .unknown()
        .optional()
        .transform(toTemplateArguments())
        .openapi({ type: 'object', additionalProperties: true }),
      help: 'Variables of the chat template: strings, numbers, booleans and null',
    },
    reasoning_effort: {
      chat: z.string().max(32).nullish(),
      help: 'Given to the chat template, which may not use it',
    },
    add_special_tokens: {
      chat: onlyValue(false),
      completions: boolean,
      help: 'Whether a text prompt gets the tokens that the tokenizer puts around a text (default: true; in chat they are the template’s)',
    },
    truncate_prompt_tokens: both(
      z
        .int()
        .min(-1)
        .max(1e9)
        .refine((count) => count !== 0, 'must be -1 or at least 1')
        .nullish(),
      'Longer prompts are cut to so many tokens; -1: to what the context leaves beside max_tokens',
    ),
    truncation_side: both(
      z.enum(['left', 'right']).nullish(),
      'The side that is cut off (default: left)',
    ),
    echo: { chat: onlyValue(false), completions: boolean, help: 'The text begins with the prompt' },
  } as const satisfies Record<string, FieldRow>;
}

function lengthFields({ vocabSize, limits }: SchemaBounds) {
  const { maxStopTokenIds, maxStopBytes } = limits;
  const anyInt = z.int().min(1).nullish();
  return {
    max_tokens: {
      chat: anyInt,
      completions: z.int().min(0).nullish(),
      help: 'Default: in chat the rest of the context, else 16; 0 only with echo',
    },
    max_completion_tokens: { chat: anyInt, help: 'The same as max_tokens' },
    min_tokens: both(
      z.int().min(0).nullish(),
      'No end-of-sequence token, stop token or stop string ends the answer before so many tokens',
    ),
    stop: both(
      z
        .unknown()
        .optional()
        .transform(toStopStrings({ maxBytes: maxStopBytes }))
        .openapi({ anyOf: [text, texts] }),
      `A string or any number of them, at most ${maxStopBytes} bytes together`,
    ),
    stop_token_ids: both(
      z
        .unknown()
        .optional()
        .transform(toTokenIds({ vocabSize, maxCount: maxStopTokenIds }))
        .openapi(ids),
      `Tokens that end the answer, at most ${maxStopTokenIds}`,
    ),
    include_stop_str_in_output: both(
      boolean,
      'The stop string, or the text of the stop token, is part of the answer',
    ),
    ignore_eos: both(boolean, 'Goes on past the end-of-sequence token'),
    n: both(
      z.int().min(1).max(limits.maxChoices).nullish(),
      `Answers to one prompt, at most ${limits.maxChoices}`,
    ),
    best_of: {
      chat: onlyValue(1),
      completions: z.int().min(1).nullish(),
      help: 'Only the value of n',
    },
  } as const satisfies Record<string, FieldRow>;
}

function samplingFields({ vocabSize, limits }: SchemaBounds) {
  const tokenIds = toTokenIds({ vocabSize, maxCount: vocabSize });
  return {
    temperature: both(z.number().min(0).max(2).nullish(), '0: the most likely token'),
    top_p: both(z.number().gt(0).max(1).nullish(), '0 < top_p <= 1'),
    top_k: both(z.int().min(-1).max(vocabSize).nullish(), '0 and -1: all tokens'),
    min_p: both(z.number().min(0).max(1).nullish(), 'Relative to the most likely token'),
    presence_penalty: both(z.number().min(-2).max(2).nullish(), '-2 to 2'),
    frequency_penalty: both(z.number().min(-2).max(2).nullish(), '-2 to 2'),
    repetition_penalty: both(z.number().gt(0).nullish(), 'Above 0; counts the prompt, too'),
    logit_bias: both(
      z
        .unknown()
        .optional()
        .transform(toLogitBias({ vocabSize, maxCount: limits.maxLogitBiases }))
        .openapi({ type: 'object', additionalProperties: { type: 'number' } }),
      `Token id to -100 to 100, at most ${limits.maxLogitBiases}`,
    ),
    seed: both(
      z.int().min(0).nullish(),
      'The same request with the same seed gets the same answer; each choice after the first has a seed that follows from it',
    ),
    allowed_token_ids: both(
      z
        .unknown()
        .optional()
        .transform((value, ctx) => {
          if (value === undefined || value === null) return undefined;
          if (Array.isArray(value) && value.length > 0) return tokenIds(value, ctx);
          ctx.addIssue({ code: 'custom', message: 'must be a non-empty array of token ids' });
          return z.NEVER;
        })
        .openapi(ids),
      'Only these tokens are generated',
    ),
    bad_words: both(
      z
        .unknown()
        .optional()
        .transform(toStopStrings({ maxBytes: limits.maxBadWordBytes }))
        .openapi(texts),
      `Words that are not generated, with and without a space before them, at most ${limits.maxBadWordBytes} bytes together`,
    ),
  } as const satisfies Record<string, FieldRow>;
}

function outputFields() {
  return {
    stream: both(boolean, 'Server-sent events'),
    stream_options: both(
      z
        .strictObject({
          include_usage: STREAM_OPTION_FIELDS.include_usage.chat,
          continuous_usage_stats: STREAM_OPTION_FIELDS.continuous_usage_stats.chat,
          include_obfuscation: STREAM_OPTION_FIELDS.include_obfuscation.chat,
        })
        .nullish(),
      'Only with stream',
    ),
    logprobs: {
      chat: boolean,
      completions: z.int().min(0).max(MAX_LOGPROBS).nullish(),
      help: `In chat true or false, else how many alternatives, at most ${MAX_LOGPROBS}`,
    },
    top_logprobs: {
      chat: z.int().min(0).max(MAX_LOGPROBS).nullish(),
      help: `Alternatives, at most ${MAX_LOGPROBS}; needs logprobs`,
    },
    prompt_logprobs: both(
      z.int().min(0).max(MAX_LOGPROBS).nullish(),
      `Scores the prompt, with so many alternatives, at most ${MAX_LOGPROBS}; not with stream`,
    ),
    return_tokens_as_token_ids: both(boolean, 'Logprobs name tokens as token_id:N'),
    ...plainText,
    modalities: both(modalities, 'Only text'),
  } as const satisfies Record<string, FieldRow>;
}

/** What clients send and no answer depends on here. */
const INERT_FIELDS = {
  user: inert('Keeps one user’s requests on one side of a split alias; never logged'),
  prompt_cache_key: inert('The same for a conversation; never logged'),
  ...rows(['metadata', 'safety_identifier'], inert('The caller’s own notes; never logged')),
  store: inert('Nothing is stored'),
  service_tier: inert('There is one tier'),
  ...rows(
    ['prompt_cache_options', 'prompt_cache_retention', 'cache_salt', 'cache_prompt'],
    inert('Prompts are not cached between requests'),
  ),
  parallel_tool_calls: {
    chat: INERT,
    completions: INERT,
    help: 'Only tools, which are refused, use it',
  },
  include_reasoning: inert('There is no separate reasoning'),
  session_id: inert('Requests are independent'),
} as const satisfies Record<string, FieldRow>;

const toolChoice = only('"none"', (value) => value === 'none');

const REFUSED_FIELDS = {
  ...rows(['tools', 'functions', 'function_call'], refused('Tool calls')),
  tool_choice: both(toolChoice, 'Tool calls: only none'),
  ...rows(['audio', 'web_search_options', 'moderation'], refused('OpenAI’s own services')),
  ...rows(['prediction', 'suffix', 'documents', 'chat_template'], refused('Not built')),
  verbosity: both(onlyValue('medium'), 'Only medium'),
  ...rows(
    [
      'grammar',
      'regex',
      'json_schema',
      'structured_outputs',
      'guided_json',
      'guided_regex',
      'guided_choice',
      'guided_grammar',
      'guided_decoding_backend',
      'guided_whitespace_pattern',
    ],
    refused('Constrained decoding, in the spellings of other servers'),
  ),
  ...rows(
    ['adapter_id', 'adapter_source', 'lora', 'lora_path', 'lora_request'],
    refused('Adapters are named by model'),
  ),
  ...rows(['use_beam_search', 'early_stopping'], both(onlyValue(false), 'Beam search')),
  length_penalty: both(onlyValue(1), 'Beam search'),
  typical_p: both(onlyValue(1), 'Only 1, which is off'),
  ...rows(
    ['logits_processors', 'logprob_token_ids', 'repetition_detection', 'thinking_token_budget'],
    refused('vLLM’s; not built'),
  ),
  ...rows(
    ['mirostat', 'dry_multiplier', 'xtc_probability', 'top_a'],
    both(onlyValue(0), 'Only 0, which is off'),
  ),
  ...rows(
    ['skip_special_tokens', 'spaces_between_special_tokens'],
    both(onlyValue(true), 'Only true'),
  ),
  ...rows(
    ['return_token_ids', 'return_prompt_text', 'return_token_offsets', 'watermarking'],
    both(onlyValue(false), 'Only false'),
  ),
  priority: both(onlyValue(0), 'Only 0'),
  stream_interval: both(onlyValue(1), 'Only 1: a chunk for each token'),
  ...rows(['request_id'], refused('Send the header x-request-id')),
  ...rows(
    [
      'prompt_embeds',
      'mm_processor_kwargs',
      'media_io_kwargs',
      'kv_transfer_params',
      'ec_transfer_params',
      'vllm_xargs',
    ],
    refused('vLLM’s; not built'),
  ),
} as const satisfies Record<string, FieldRow>;
