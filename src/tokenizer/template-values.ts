// Builds the values for a chat template: messages, tools and variables, with all texts quoted.

import { randomBytes } from 'node:crypto';
import { fieldError } from '../common/errors.ts';
import { largest } from '../common/long-arrays.ts';
import type { FunctionTool, ToolCall } from '../contracts/tools.ts';
import { alternatives } from './encoder.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * The part [start, end) of a rendering that belongs to one message: UTF-16 units of its content, or the tokens of an
 * assistant's turn including the control token that ends it.
 */
export interface MessageRange {
  messageIndex: number;
  start: number;
  end: number;
}

/** A message of a conversation. */
export interface ChatMessage {
  role: string;
  content: string;
  /** An assistant's thoughts before the content. */
  reasoning?: string;
  name?: string;
  /** The calls in an assistant's message, after its content. */
  toolCalls?: readonly ToolCall[];
  /** The id of the call whose result this message is. */
  toolCallId?: string;
}

/** Additional variables for a template. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean | null>>;

/** A message in the form that templates read. */
export interface TemplateMessage {
  role: string;
  content: string;
  reasoning_content?: string;
  name?: string;
  tool_call_id?: string;
  /** Templates serialize the arguments themselves. */
  tool_calls?: { id: string; type: 'function'; function: { name: string; arguments: unknown } }[];
}

/** Returns the message for the template, with all its texts quoted. */
export function quoteMessage({ quote }: Quoting, message: ChatMessage): TemplateMessage {
  const { role, content, reasoning, name, toolCalls = [], toolCallId } = message;
  return {
    role: quote(role),
    content: quote(content),
    ...(reasoning !== undefined && { reasoning_content: quote(reasoning) }),
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

/** Quotes tools and arranges them as in OpenAI's API, because templates repeat them as JSON. */
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

/** Names that have a meaning in templates or in Jinja. Callers cannot use them. */
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

/** Quotes the texts of variables in the same way. Throws `ServeError` for a reserved name. */
export function quoteVariables(
  { quote }: Quoting,
  variables: TemplateVariables,
  namedTokens: Tokenizer['namedTokens'],
): TemplateVariables {
  const entries = Object.entries(variables).map(([name, value]) => {
    if (RESERVED_VARIABLES.has(name.toLowerCase()) || Object.hasOwn(namedTokens, name)) {
      const param = `chat_template_kwargs.${name}`;
      throw fieldError(param, 'this name is reserved. Use another one.');
    }
    return [name, typeof value === 'string' ? quote(value) : value] as const;
  });
  return Object.fromEntries(entries);
}

// Passes messages' texts through a chat template. They are quoted, so they cannot look like control tokens, and marked, so they
// can be found in the rendering.

/** Quotes and marks the texts of one rendering. */
export interface Quoting {
  /** Replaces control tokens by placeholders, and also the start of one at the end of the text. */
  quote(text: string): string;
  /** Restores the texts that the placeholders in a text stand for. */
  restore(text: string): string;
  /** Returns a text that occurs nowhere else. */
  mark(index: number): string;
}

/** Creates a `Quoting`. Its placeholders contain a random number, so no message can contain them. */
export function createQuoting({ specialIds, idToToken }: Tokenizer): Quoting {
  const nonce = randomBytes(8).toString('hex');
  const controls = [...specialIds].flatMap((id) => idToToken(id) ?? []);
  const control = controls.length > 0 ? new RegExp(alternatives(controls), 'gu') : undefined;
  const quotedTexts: string[] = [];
  const placeholder = (text: string) => `\uE000${nonce}:${quotedTexts.push(text) - 1}\uE001`;
  const quote = (text: string) => {
    const whole = control ? text.replace(control, placeholder) : text;
    // The template's next text must not complete a control token that the message starts.
    const open = largest([0, ...controls.map((token) => openLength(whole, token))]);
    return open === 0 ? whole : whole.slice(0, -open) + placeholder(whole.slice(-open));
  };
  const pattern = new RegExp(`\uE000${nonce}:(\\d+)\uE001`, 'gu');
  return {
    quote,
    restore: (text) => text.replace(pattern, (_, index) => quotedTexts[index]!),
    mark: (index) => `${nonce}mark${index}.`,
  };
}

/** Returns the length of the longest proper prefix of `token` that the text ends with. */
function openLength(text: string, token: string): number {
  for (let length = token.length - 1; length > 0; length--) {
    if (text.endsWith(token.slice(0, length))) return length;
  }
  return 0;
}

/** The content of a message, and the mark that replaces it in the skeleton. */
interface MarkedContent {
  messageIndex: number;
  content: string;
  mark: string;
}

/**
 * Finds contents in the rendering `text`. `skeleton` is a rendering of the same messages with marks instead of contents.
 * Undefined if the two differ by more than the contents and the white space around them.
 */
export function locateContents(
  text: string,
  skeleton: string,
  contents: readonly MarkedContent[],
): MessageRange[] | undefined {
  if (contents.length === 0) return [];
  const anyMark = alternatives(contents.map(({ mark }) => mark));
  const marks = skeleton.match(new RegExp(anyMark, 'gu')) ?? [];
  if (marks.join() !== contents.map(({ mark }) => mark).join()) return undefined;
  const [first = '', ...following] = skeleton.split(new RegExp(anyMark, 'u'));
  if (!text.startsWith(first)) return undefined;

  const ranges: MessageRange[] = [];
  let start = first.length;
  for (const [i, { messageIndex, content }] of contents.entries()) {
    const next = following[i]!;
    const variants = [content, content.trim(), content.trimStart(), content.trimEnd()];
    const rendering = variants.find((variant) => text.startsWith(variant + next, start));
    if (rendering === undefined) return undefined;
    const end = start + rendering.length;
    ranges.push({ messageIndex, start, end });
    start = end + next.length;
  }
  return start === text.length ? ranges : undefined;
}
