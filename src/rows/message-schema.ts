// The schema of a message in a training row.
import { z } from 'zod';
import { toolCallsSchema } from '../contracts/tools.ts';

/** OpenAI's roles, except `function`, which is an older form of `tool`. */
const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'] as const;

/** A message of a conversation. */
export const messageSchema = z
  .strictObject({
    role: z.enum(ROLES, `is not one of ${ROLES.join(', ')}`),
    content: z.preprocess(joinParts, z.string('must be a text, or a list of text parts').nullish()),
    /** The thoughts before the content. The chat template decides which of them it shows. */
    reasoning_content: z.string('must be a text').nullish(),
    name: z.string().optional(),
    weight: z.number().min(0).max(1000).optional(),
    tool_calls: toolCallsSchema.nullish(),
    tool_call_id: z.string('must be a text').optional(),
  })
  .refine(({ content, tool_calls: calls }) => content != null || (calls?.length ?? 0) > 0, {
    path: ['content'],
    message: 'is missing',
  })
  .refine(({ role, tool_calls: calls }) => role === 'assistant' || calls == null, {
    path: ['tool_calls'],
    message: 'are only allowed on assistant messages',
  })
  .refine(({ role, tool_call_id: id }) => (role === 'tool') === (id !== undefined), {
    path: ['tool_call_id'],
    message: 'is required on tool messages and not allowed on others',
  })
  .refine(({ role, weight }) => weight === undefined || role === 'assistant', {
    path: ['weight'],
    message: 'is only allowed on assistant messages',
  })
  .refine(({ role, reasoning_content: thoughts }) => thoughts == null || role === 'assistant', {
    path: ['reasoning_content'],
    message: 'is only allowed on assistant messages',
  })
  .refine(
    ({ role, content, tool_calls: calls }) =>
      role !== 'assistant' || content !== '' || (calls?.length ?? 0) > 0,
    { path: ['content'], message: 'is empty: there is nothing to learn' },
  )
  .transform(({ content, reasoning_content, tool_calls: calls, tool_call_id: id, ...message }) => ({
    ...message,
    content: content ?? '',
    ...(reasoning_content && { reasoning: reasoning_content }),
    ...(calls?.length && { toolCalls: calls }),
    ...(id !== undefined && { toolCallId: id }),
  }));

/** Joins the parts of a content that consists of texts. */
function joinParts(content: unknown): unknown {
  const texts = Array.isArray(content) ? content.map(textOf) : [];
  return texts.length > 0 && texts.every((text) => text !== undefined) ? texts.join('') : content;
}

function textOf(part: unknown): string | undefined {
  const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
  return type === 'text' && typeof text === 'string' ? text : undefined;
}
