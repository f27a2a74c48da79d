// The request of `POST /v1/chat/completions`. Content is text, as one string or in parts.
import { z } from '@hono/zod-openapi';
import type { HttpLimits } from '../limits.ts';
import { fail, type Refine } from './fields.ts';
import { checkTogether, type SchemaBounds, samplingFields } from './sampling.ts';

const UNSUPPORTED = 'unsupported_parameter';

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
    text += partText;
  }
  return text;
}

export const chatMessageSchema = z
  .object({
    role: z.enum(['developer', 'system', 'user', 'assistant', 'tool']),
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
    tool_calls: z.unknown().optional(),
  })
  .superRefine(({ role, content, tool_calls: toolCalls }, ctx) => {
    if (role === 'tool') fail(ctx, 'a tool message answers a tool call, and there is none');
    else if (Array.isArray(toolCalls) && toolCalls.length > 0) {
      fail(ctx, 'tool calls are not supported by this server', { code: UNSUPPORTED });
    } else if (content === null && role !== 'assistant') {
      fail(ctx, 'content may be null only for the assistant');
    }
  })
  .transform(({ role, content }) => ({
    role: role === 'developer' ? ('system' as const) : (role as 'system' | 'user' | 'assistant'),
    content: content ?? '',
  }));

function messagesSchema(limits: HttpLimits) {
  // Counted before any item is looked at.
  return z
    .array(z.unknown())
    .min(1)
    .max(limits.maxMessages)
    .pipe(z.array(chatMessageSchema))
    .openapi({ type: 'array', items: { $ref: '#/components/schemas/ChatMessage' } });
}

export function chatRequestSchema(bounds: SchemaBounds) {
  return z
    .object({
      ...samplingFields(bounds),
      messages: messagesSchema(bounds.limits),
      max_tokens: z.int().min(1).nullish(),
      max_completion_tokens: z
        .int()
        .min(1)
        .nullish()
        .openapi({ description: 'Default: the rest of the context' }),
      logprobs: z.boolean().nullish(),
      top_logprobs: z.int().min(0).max(20).nullish(),
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
    })
    .openapi('ChatCompletionRequest');
}

export type ChatRequest = z.output<ReturnType<typeof chatRequestSchema>>;
