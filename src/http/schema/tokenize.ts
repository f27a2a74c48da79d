// The requests of vLLM's `POST /tokenize` and `POST /detokenize`. Fields that generation requests share come from their table.
import { z } from '@hono/zod-openapi';
import { addIssue } from '../../common/schema-issues.ts';
import { chatMessagesSchema } from './chat.ts';
import { tokenIdsForm, toTokenIds } from './fields.ts';
import { requestFields, type SchemaBounds } from './request-fields.ts';

const model = z.string().nullish().describe('Default: the base');

/** The schema of a tokenize request, within a model's bounds. */
export function tokenizeRequestSchema(bounds: SchemaBounds) {
  const rows = requestFields(bounds);
  return z
    .strictObject({
      model,
      prompt: z.string().nullish().describe('A text, as for completions'),
      messages: chatMessagesSchema(bounds)
        .nullish()
        .openapi({ type: ['array', 'null'] }),
      add_special_tokens: z
        .boolean()
        .nullish()
        .describe(`${rows.add_special_tokens.help}; false with messages`),
      add_generation_prompt: rows.add_generation_prompt.chat,
      continue_final_message: rows.continue_final_message.chat,
      chat_template_kwargs: rows.chat_template_kwargs.chat,
      reasoning_effort: rows.reasoning_effort.chat,
      tools: rows.tools.chat,
      chat_template: rows.chat_template.chat,
      mm_processor_kwargs: rows.mm_processor_kwargs.chat,
      return_token_strs: z.boolean().nullish().describe('Whether the answer also names the tokens'),
    })
    .superRefine((body, ctx) => {
      const { prompt, messages, add_special_tokens: addsSpecials } = body;
      if ((prompt == null) === (messages == null)) {
        addIssue(ctx, 'give either prompt or messages', ['prompt']);
      }
      if (messages && addsSpecials) {
        const message = 'must be false with messages: the chat template writes these tokens';
        addIssue(ctx, message, ['add_special_tokens']);
      }
      if (body.continue_final_message && body.add_generation_prompt) {
        addIssue(ctx, 'cannot be combined with add_generation_prompt', ['continue_final_message']);
      }
    })
    .openapi('TokenizeRequest');
}

/** The schema of a detokenize request. */
export function detokenizeRequestSchema(bounds: { vocabSize: number; maxCount: number }) {
  return z
    .strictObject({
      model,
      tokens: z
        .array(z.unknown())
        .transform(toTokenIds(bounds))
        .openapi(tokenIdsForm(bounds.vocabSize)),
    })
    .openapi('DetokenizeRequest');
}
