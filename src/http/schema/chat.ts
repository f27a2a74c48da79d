// The request of `POST /v1/chat/completions`. Content is text, as one string or in parts.
import { z } from '@hono/zod-openapi';
import { fieldsOf } from './field-table.ts';
import { fail, type Refine } from './fields.ts';
import { MESSAGE_FIELDS, PART_FIELDS } from './message-fields.ts';
import { checkTogether, requestFields, type SchemaBounds } from './request-fields.ts';

const UNSUPPORTED = 'unsupported_parameter';
const PART_NAMES = new Set(Object.keys(PART_FIELDS));

/** Parts are joined as they are; null is the content of an assistant that said nothing. */
function toContent(value: unknown, ctx: Refine): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  if (!Array.isArray(value) || value.length === 0) {
    return fail(ctx, 'expected a string or a non-empty array of parts');
  }
  let text = '';
  for (const [i, part] of value.entries()) {
    const { type, text: partText } = (part ?? {}) as { type?: unknown; text?: unknown };
    if (type !== 'text') {
      const path = [i, 'type'];
      return fail(ctx, 'only parts of type text are supported', { path, code: UNSUPPORTED });
    }
    if (typeof partText !== 'string') return fail(ctx, 'expected a string', { path: [i, 'text'] });
    const unknown = Object.keys(part).find((name) => !PART_NAMES.has(name));
    if (unknown !== undefined) {
      ctx.addIssue({ code: 'unrecognized_keys', keys: [unknown], path: [i], input: part });
      return null;
    }
    text += partText;
  }
  return text;
}

export const chatMessageSchema = z
  .strictObject({
    ...fieldsOf(MESSAGE_FIELDS, 'chat'),
    content: z
      .unknown()
      .optional()
      .transform(toContent)
      .openapi({
        anyOf: [
          { type: 'string' },
          {
            type: 'array',
            items: {
              type: 'object',
              properties: { type: { const: 'text' }, text: { type: 'string' } },
              required: ['type', 'text'],
            },
          },
          { type: 'null' },
        ],
      }),
  })
  .superRefine(({ role, content }, ctx) => {
    if (role === 'tool') fail(ctx, 'a tool message answers a tool call, and there is none');
    else if (content === null && role !== 'assistant') {
      fail(ctx, 'content may be null only for the assistant');
    }
  })
  .transform(({ role, content, refusal, name }) => ({
    role: role === 'developer' ? ('system' as const) : (role as 'system' | 'user' | 'assistant'),
    content: content ?? refusal ?? '',
    ...(name != null && { name }),
  }));

/** A conversation; it is counted before any of its messages is looked at. */
export function chatMessagesSchema(bounds: SchemaBounds) {
  return requestFields(bounds).messages.chat.pipe(z.array(chatMessageSchema));
}

export function chatRequestSchema(bounds: SchemaBounds) {
  const fields = fieldsOf(requestFields(bounds), 'chat');
  return z
    .strictObject({
      ...fields,
      messages: chatMessagesSchema(bounds),
    })
    .superRefine((body, ctx) => {
      const { max_tokens: older, max_completion_tokens: newer } = body;
      checkTogether(body, ctx);
      if (older != null && newer != null && older !== newer) {
        fail(ctx, 'differs from max_completion_tokens', { path: ['max_tokens'] });
      }
      if (body.top_logprobs != null && !body.logprobs) {
        fail(ctx, 'needs "logprobs": true', { path: ['top_logprobs'] });
      }
      if (body.continue_final_message && body.add_generation_prompt) {
        fail(ctx, 'cannot be combined with add_generation_prompt', {
          path: ['continue_final_message'],
        });
      }
    })
    .openapi('ChatCompletionRequest');
}

export type ChatRequest = z.output<ReturnType<typeof chatRequestSchema>>;
