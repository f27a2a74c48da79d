// OpenAI's older completions: prompts as text or token ids, completed.
import type { Dialect } from '../request/dialect.ts';
import type { CompletionRequest } from '../schema/completions.ts';
import { TEXT_CHOICES } from './choices.ts';

/** OpenAI's default for max_tokens. */
const DEFAULT_MAX_TOKENS = 16;

/** The dialect of `POST /v1/completions`. */
export const COMPLETIONS: Dialect<CompletionRequest> = {
  operation: 'text_completion',
  idPrefix: 'cmpl-',
  promptField: 'prompt',
  limitField: 'max_tokens',
  read(body) {
    const { prompt: prompts } = body;
    const targets = body.prompt_logprob_token_ids ?? undefined;
    return {
      prompt: { kind: 'prompts', prompts, addSpecialTokens: body.add_special_tokens ?? true },
      tokenFields: { prompt: prompts, prompt_logprob_token_ids: targets?.flat() },
      maxTokens: body.max_tokens,
      defaultTokens: DEFAULT_MAX_TOKENS,
      topLogprobs: body.logprobs ?? undefined,
      echoes: body.echo ?? false,
      promptTargets: targets,
      writer: TEXT_CHOICES,
    };
  },
};
