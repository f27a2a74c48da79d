// The values that a chat template gets: messages, tools and variables, all of their texts quoted. Does not know templates.
import { ServeError } from '../common/errors.ts';
import type { FunctionTool, ToolCall } from '../contracts/tools.ts';
import type { Quoting } from './quoting.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A message of a conversation. */
export interface ChatMessage {
  role: string;
  content: string;
  name?: string;
  /** The calls that an assistant's message makes after its content. */
  toolCalls?: readonly ToolCall[];
  /** The id of the call whose result this message is. */
  toolCallId?: string;
}

/** Additional variables for a template. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean | null>>;

/** A message as templates read it. */
export interface TemplateMessage {
  role: string;
  content: string;
  name?: string;
  tool_call_id?: string;
  /** Templates write arguments as JSON themselves. */
  tool_calls?: { id: string; type: 'function'; function: { name: string; arguments: unknown } }[];
}

/** Quotes a message. */
export function quoteMessage({ quote }: Quoting, message: ChatMessage): TemplateMessage {
  const { role, content, name, toolCalls = [], toolCallId } = message;
  return {
    role: quote(role),
    content: quote(content),
    ...(name !== undefined && { name: quote(name) }),
    ...(toolCallId !== undefined && { tool_call_id: quote(toolCallId) }),
    ...(toolCalls.length > 0 && {
      tool_calls: toolCalls.map((call) => ({
        id: quote(call.id),
        type: 'function' as const,
        function: {
          name: quote(call.name),
          arguments: quoteDeep(quote, JSON.parse(call.arguments)),
        },
      })),
    }),
  };
}

/** Quotes tools and writes them as OpenAI's API does, because templates repeat them as JSON. */
export function quoteTools({ quote }: Quoting, tools: readonly FunctionTool[]): unknown[] {
  return tools.map((tool) => quoteDeep(quote, { type: 'function', function: tool }));
}

/** Quotes all texts and keys of a JSON value. */
function quoteDeep(quote: Quoting['quote'], value: unknown): unknown {
  if (typeof value === 'string') return quote(value);
  if (Array.isArray(value)) return value.map((item) => quoteDeep(quote, item));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [quote(key), quoteDeep(quote, item)]);
  return Object.fromEntries(entries);
}

/** Names with a meaning in templates or in Jinja. Callers cannot use them. */
const RESERVED_VARIABLES = new Set([
  'messages',
  'add_generation_prompt',
  'continue_final_message',
  'chat_template',
  'tools',
  'documents',
  'true',
  'false',
  'none',
  'raise_exception',
  'range',
  'strftime_now',
  'namespace',
  'loop',
]);

/** Quotes the texts of variables, like those of messages. Throws `ServeError` for a reserved name. */
export function quoteVariables(
  { quote }: Quoting,
  variables: TemplateVariables,
  namedTokens: Tokenizer['namedTokens'],
): TemplateVariables {
  const entries = Object.entries(variables).map(([name, value]) => {
    if (RESERVED_VARIABLES.has(name.toLowerCase()) || Object.hasOwn(namedTokens, name)) {
      const param = `chat_template_kwargs.${name}`;
      throw new ServeError('invalid_request', `${param}: this name is reserved. Use another one.`, {
        param,
      });
    }
    return [name, typeof value === 'string' ? quote(value) : value] as const;
  });
  return Object.fromEntries(entries);
}
