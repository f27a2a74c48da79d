// The requests of vLLM's `POST /tokenize` and `POST /detokenize`. Fields that generation has, too, are rows of its table.
import { z } from '@hono/zod-openapi';
import { chatMessagesSchema } from './chat.ts';
import { fail, toTokenIds } from './fields.ts';
import { requestFields, type SchemaBounds } from './request-fields.ts';

const model = z.string().nullish().openapi({ description: 'By default the base' });

export function tokenizeRequestSchema(bounds: SchemaBounds) {
  const rows = requestFields(bounds);
  return z
    .strictObject({
      model,
      prompt: z.string().nullish().openapi({ description: 'A text, as for completions' }),
      messages: chatMessagesSchema(bounds).nullish(),
      add_special_tokens: z
        .boolean()
        .nullish()
        .openapi({ description: `${rows.add_special_tokens.help}; false with messages` }),
      add_generation_prompt: rows.add_generation_prompt.chat,
      continue_final_message: rows.continue_final_message.chat,
      chat_template_kwargs: rows.chat_template_kwargs.chat,
      reasoning_effort: rows.reasoning_effort.chat,
      tools: rows.tools.chat,
      chat_template: rows.chat_template.chat,
      mm_processor_kwargs: rows.mm_processor_kwargs.chat,
      return_token_strs: z
        .boolean()
        .nullish()
        .openapi({ description: 'Whether the answer names the tokens, too' }),
    })
    .superRefine((body, ctx) => {
      const { prompt, messages, add_special_tokens: addsSpecials } = body;
      if ((prompt == null) === (messages == null)) {
        fail(ctx, 'is required, or messages in its place, and not both', { path: ['prompt'] });
      }
      if (messages && addsSpecials) {
        fail(ctx, 'must be false with messages: the chat template writes these tokens', {
          path: ['add_special_tokens'],
        });
      }
      if (body.continue_final_message && body.add_generation_prompt) {
        fail(ctx, 'cannot be combined with add_generation_prompt', {
          path: ['continue_final_message'],
        });
      }
    })
    .openapi('TokenizeRequest');
}

export function detokenizeRequestSchema(bounds: { vocabSize: number; maxCount: number }) {
  return z
    .strictObject({
      model,
      tokens: z
        .array(z.unknown())
        .transform(toTokenIds(bounds))
        .openapi({ type: 'array', items: { type: 'integer' } }),
    })
    .openapi('DetokenizeRequest');
}
