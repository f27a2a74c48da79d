// Renders messages as token ids with the model's Jinja template. Control tokens come from the template only: the content
// of a message is always text, whatever it looks like. Does not know requests or tools.
import { Template } from '@huggingface/jinja';
import { FileError, ServeError } from '../common/errors.ts';
import type { Section } from './encoder.ts';
import { createQuoting, locateContents, type Quoting } from './quoting.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A message of a conversation. */
export interface ChatMessage {
  role: string;
  content: string;
  name?: string;
}

/** A conversation as text and as token ids. */
export interface RenderedChat {
  ids: number[];
  text: string;
}

/** The tokens [start, end) of an assistant's message, including the control token that ends the turn. */
export interface AssistantSpan {
  messageIndex: number;
  start: number;
  end: number;
}

/** Additional variables for a template. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean | null>>;

/** Options of `ChatTemplate.render`. */
export interface RenderOptions {
  /** Whether the rendering ends with the start of the assistant's turn. */
  addGenerationPrompt: boolean;
  /** Whether to cut off the text after the last message, so the answer continues it. */
  continuesFinalMessage?: boolean;
  variables?: TemplateVariables;
}

/** A model's chat template. */
export interface ChatTemplate {
  /**
   * Renders a conversation. Throws `ServeError` if the template rejects the messages or changes the one to continue
   * (param `messages`), or if a variable has a reserved name (param `chat_template_kwargs`).
   */
  render(messages: readonly ChatMessage[], options: RenderOptions): RenderedChat;
  /**
   * Renders a whole conversation and returns the ranges of the assistant's messages. Throws `ServeError` also if the
   * template changes more of a message than the white space around it.
   */
  renderWithSpans(messages: readonly ChatMessage[]): RenderedChat & { spans: AssistantSpan[] };
}

/** Parses the tokenizer's chat template. Undefined if it has none. Throws `FileError` if it is invalid. */
export function createChatTemplate(tokenizer: Tokenizer): ChatTemplate | undefined {
  if (tokenizer.chatTemplate === undefined) return undefined;
  const template = parseTemplate(tokenizer.chatTemplate);
  const run = (
    messages: readonly ChatMessage[],
    addGenerationPrompt: boolean,
    variables: TemplateVariables = {},
  ): string => {
    try {
      return template.render({
        ...variables,
        ...tokenizer.namedTokens,
        messages,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw templateError(`the model's chat template rejects them: ${reason}`, cause);
    }
  };
  return {
    render(messages, { addGenerationPrompt, continuesFinalMessage, variables = {} }) {
      const quoting = createQuoting(tokenizer);
      const quoted = quoteMessages(quoting, messages);
      const given = quoteVariables(quoting, variables, tokenizer.namedTokens);
      const render = (some: readonly ChatMessage[]) => run(some, addGenerationPrompt, given);
      let quotedText = render(quoted);
      if (continuesFinalMessage) quotedText = cutAfterLast(quoting, quoted, { quotedText, render });
      const { ids } = encodeQuoted(tokenizer, quoting, quotedText);
      return { ids, text: quoting.restore(quotedText) };
    },
    renderWithSpans(messages) {
      const quoting = createQuoting(tokenizer);
      const quoted = quoteMessages(quoting, messages);
      const quotedText = run(quoted, false);
      const contents = quoted.flatMap(({ role, content }, messageIndex) =>
        role === 'assistant' ? { messageIndex, content, mark: quoting.mark(messageIndex) } : [],
      );
      const marked = quoted.slice();
      for (const { messageIndex, mark } of contents) {
        marked[messageIndex] = { ...marked[messageIndex]!, content: mark };
      }
      const ranges = locateContents(quotedText, run(marked, false), contents);
      if (!ranges) {
        throw templateError(
          "the model's chat template changes the assistant's messages, so their tokens cannot be located",
        );
      }
      const encoded = encodeQuoted(tokenizer, quoting, quotedText);
      const spans = ranges.map(({ messageIndex, start, end }) => ({
        messageIndex,
        start: encoded.tokenAt(start),
        end: encoded.tokenAt(end) + (encoded.isControlTokenAt(end) ? 1 : 0),
      }));
      return { ids: encoded.ids, text: quoting.restore(quotedText), spans };
    },
  };
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
function quoteVariables(
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

/** Returns the rendering up to the end of the last message's content. */
function cutAfterLast(
  quoting: Quoting,
  quoted: readonly ChatMessage[],
  { quotedText, render }: { quotedText: string; render(messages: readonly ChatMessage[]): string },
): string {
  const messageIndex = quoted.length - 1;
  const last = quoted[messageIndex]!;
  const mark = quoting.mark(messageIndex);
  const skeleton = render([...quoted.slice(0, -1), { ...last, content: mark }]);
  const [range] =
    locateContents(quotedText, skeleton, [{ messageIndex, content: last.content, mark }]) ?? [];
  if (!range) {
    throw templateError(
      "the model's chat template changes the last message, so it cannot be continued",
    );
  }
  return quotedText.slice(0, range.end);
}

function quoteMessages({ quote }: Quoting, messages: readonly ChatMessage[]): ChatMessage[] {
  return messages.map(({ role, content, name }) => ({
    role: quote(role),
    content: quote(content),
    ...(name !== undefined && { name: quote(name) }),
  }));
}

function templateError(reason: string, cause?: unknown): ServeError {
  return new ServeError('invalid_request', `messages: ${reason}`, { param: 'messages', cause });
}

function parseTemplate(source: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    throw new FileError('chat_template', 'is not a valid Jinja template', { cause });
  }
}

/** Encodes a rendering. All control tokens in it come from the template; the text between two is encoded as one. */
function encodeQuoted(tokenizer: Tokenizer, quoting: Quoting, quotedText: string) {
  const { encoder, specialIds } = tokenizer;
  const sections = encoder.split(quotedText, { specials: true });
  const firstTokens: number[] = []; // per section
  const ids: number[] = [];
  const encode = (section: Section, index: number) =>
    encoder.encodeSection({ ...section, text: quoting.restore(section.text) }, index);
  for (const [index, section] of sections.entries()) {
    firstTokens.push(ids.length);
    for (const id of encode(section, index)) ids.push(id);
  }
  return {
    ids,
    /** Returns the index of the first token that begins at or after this offset of `quotedText`. */
    tokenAt(offset: number): number {
      const index = sections.findLastIndex(({ start }) => start <= offset);
      const section = sections[index];
      if (!section) return 0;
      const before = { ...section, text: section.text.slice(0, offset - section.start) };
      return firstTokens[index]! + (before.text === '' ? 0 : encode(before, index).length);
    },
    isControlTokenAt(offset: number): boolean {
      const id = sections.find(({ start }) => start === offset)?.id;
      return id !== undefined && specialIds.has(id);
    },
  };
}
