// Messages → token ids, by the model's own Jinja template. Control tokens come from the template only: what
// stands in a message is text, whatever it looks like. Knows no requests and no tools.
import { Template } from '@huggingface/jinja';
import { FileError, ServeError } from '../common/errors.ts';
import { locateContents } from './chat-spans.ts';
import type { Section } from './encoder.ts';
import { createQuoting, type Quoting } from './quoting.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface ChatMessage {
  role: string;
  content: string;
  name?: string;
}

export interface RenderedChat {
  ids: number[];
  text: string;
}

/** Tokens [start, end) that an assistant's message became, with the control token that ends its turn. */
export interface AssistantSpan {
  messageIndex: number;
  start: number;
  end: number;
}

/** Variables of a template beside the messages. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean | null>>;

export interface RenderOptions {
  addGenerationPrompt: boolean;
  /** Cuts off what the template writes after the last message, so that an answer goes on with it. */
  continuesFinalMessage?: boolean;
  variables?: TemplateVariables;
}

export interface ChatTemplate {
  /**
   * Throws `ServeError` if the template refuses the messages (param `messages`), does not show the one to be continued, or
   * has a name of its own among the variables (param `chat_template_kwargs`).
   */
  render(messages: readonly ChatMessage[], options: RenderOptions): RenderedChat;
  /**
   * The whole conversation and where the assistant speaks. Throws `ServeError` too where the template does
   * not show a message as it is (but for white space around it).
   */
  renderWithSpans(messages: readonly ChatMessage[]): RenderedChat & { spans: AssistantSpan[] };
}

/** Undefined where the tokenizer's files have no template. Throws `FileError` where it does not parse. */
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
      throw refusal(`the model's chat template refuses them: ${reason}`, cause);
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
        throw refusal("the model's chat template does not show what the assistant says as it is");
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

/** What a template or its language means by these names is not the caller's to change. */
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

/** Their texts quoted, as messages are: no control token comes from a request. */
function quoteVariables(
  { quote }: Quoting,
  variables: TemplateVariables,
  namedTokens: Tokenizer['namedTokens'],
): TemplateVariables {
  const entries = Object.entries(variables).map(([name, value]) => {
    if (RESERVED_VARIABLES.has(name.toLowerCase()) || Object.hasOwn(namedTokens, name)) {
      const param = `chat_template_kwargs.${name}`;
      throw new ServeError('invalid_request', `${param}: is the template's own name`, { param });
    }
    return [name, typeof value === 'string' ? quote(value) : value] as const;
  });
  return Object.fromEntries(entries);
}

/** The rendering up to the end of the last message's content. */
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
    throw refusal("the model's chat template does not show the last message as it is");
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

function refusal(reason: string, cause?: unknown): ServeError {
  return new ServeError('invalid_request', `messages: ${reason}`, { param: 'messages', cause });
}

function parseTemplate(source: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    throw new FileError('chat_template', 'is no template that can be rendered', { cause });
  }
}

/** A control token in the rendering is the template's; the text between two is encoded as one piece. */
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
    /** The first token that begins at or after this offset of `quotedText`. */
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
