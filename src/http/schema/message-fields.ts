// The fields of a chat message and of its text parts: whatever an assistant's message of ours, of OpenAI or of their clients
// holds can be sent back.
import { z } from '@hono/zod-openapi';
import { type FieldRow, INERT, REFUSED } from './field-table.ts';

function chat<Schema extends z.ZodType>(schema: Schema, help: string) {
  return { chat: schema, help };
}

/** Longer names are no names. */
const MAX_NAME_LENGTH = 256;

const role = z.enum(['developer', 'system', 'user', 'assistant', 'tool']);

/** The rows that are not the content itself. */
export const MESSAGE_FIELDS = {
  role: chat(role, 'developer means system; tool is refused, since there are no tool calls'),
  name: chat(z.string().max(MAX_NAME_LENGTH).nullish(), 'Given to the chat template'),
  refusal: chat(
    z.string().nullish(),
    "An assistant's refusal, which stands for its content if that is null",
  ),
  tool_calls: chat(REFUSED, 'Tool calls'),
  function_call: chat(REFUSED, 'Function calls'),
  audio: chat(REFUSED, 'Audio'),
  tool_call_id: chat(INERT, 'Of a tool message, which is refused by its role'),
  annotations: chat(INERT, 'What an answer cited'),
  reasoning: chat(REFUSED, "A reasoning model's thoughts"),
  reasoning_content: chat(REFUSED, "A reasoning model's thoughts"),
  thinking_blocks: chat(REFUSED, "A reasoning model's thoughts"),
  parsed: chat(INERT, "What OpenAI's clients made of the content"),
  provider_specific_fields: chat(INERT, "litellm's own"),
} as const satisfies Record<string, FieldRow>;

export const PART_FIELDS = {
  type: chat(z.unknown(), 'Only text'),
  text: chat(z.unknown(), 'Parts are joined as they are'),
  annotations: chat(INERT, 'What an answer cited'),
  cache_control: chat(INERT, 'Prompts are not cached between requests'),
  prompt_cache_breakpoint: chat(INERT, 'Prompts are not cached between requests'),
} as const satisfies Record<string, FieldRow>;
