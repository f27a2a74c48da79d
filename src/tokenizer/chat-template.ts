// Renders messages and tools as token ids with the model's Jinja template. Control tokens come only from the template: the
// content of a message is always plain text, even if it looks like a control token. `tool-template.ts` handles templates that
// cannot show tools.
import { Template } from '@huggingface/jinja';
import { FileError, fieldError, type ServeError } from '../common/errors.ts';
import type { FunctionTool } from '../contracts/tools.ts';
import type { Section } from './encoder.ts';
import {
  type ChatMessage,
  createQuoting,
  locateContents,
  type MessageRange,
  type Quoting,
  quoteMessage,
  quoteTools,
  quoteVariables,
  type TemplateMessage,
  type TemplateVariables,
} from './template-values.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A conversation as text and token ids. */
interface RenderedChat {
  ids: number[];
  text: string;
}

/** Options of `ChatTemplate.render`. */
export interface RenderOptions {
  /** Whether the rendering ends with the start of the assistant's turn. */
  addGenerationPrompt: boolean;
  /** Whether to cut off the text after the last message, so the completion continues it. */
  continuesFinalMessage?: boolean;
  variables?: TemplateVariables;
  /** Tools to show. None if absent or empty. */
  tools?: readonly FunctionTool[] | undefined;
}

/** A model's chat template. */
export interface ChatTemplate {
  /**
   * Renders a conversation. Throws `ServeError` if the template rejects the messages or changes the one to continue
   * (param `messages`), or if a variable has a reserved name (param `chat_template_kwargs`).
   */
  render(messages: readonly ChatMessage[], options: RenderOptions): RenderedChat;
  /**
   * Renders a whole conversation and returns the ranges of the assistant's messages. Also throws `ServeError` if the template
   * changes more of a message than surrounding white space.
   */
  renderWithSpans(
    messages: readonly ChatMessage[],
    options?: Pick<RenderOptions, 'tools'>,
  ): RenderedChat & { spans: MessageRange[] };
}

/** Parses the tokenizer's chat template; undefined if it has none. Throws `FileError` if it is invalid. */
export function createChatTemplate(tokenizer: Tokenizer): ChatTemplate | undefined {
  if (tokenizer.chatTemplate === undefined) return undefined;
  const template = parseTemplate(tokenizer.chatTemplate);
  const run: RunTemplate = (messages, { addGenerationPrompt, tools, variables }) => {
    try {
      return template.render({
        ...variables,
        ...tokenizer.namedTokens,
        messages,
        ...(tools.length > 0 && { tools }),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw templateError(`the model's chat template rejects them: ${reason}`, cause);
    }
  };
  return {
    render(messages, { addGenerationPrompt, continuesFinalMessage, variables = {}, tools = [] }) {
      const quoting = createQuoting(tokenizer);
      const quoted = messages.map((message) => quoteMessage(quoting, message));
      const values = {
        addGenerationPrompt,
        tools: quoteTools(quoting, tools),
        variables: quoteVariables(quoting, variables, tokenizer.namedTokens),
      };
      const render = (some: readonly TemplateMessage[]) => run(some, values);
      let quotedText = render(quoted);
      if (continuesFinalMessage) quotedText = cutAfterLast(quoting, quoted, { quotedText, render });
      const { ids } = encodeQuoted(tokenizer, quoting, quotedText);
      return { ids, text: quoting.restore(quotedText) };
    },
    renderWithSpans(messages, { tools = [] } = {}) {
      const quoting = createQuoting(tokenizer);
      const quoted = messages.map((message) => quoteMessage(quoting, message));
      const shownTools = quoteTools(quoting, tools);
      const render = (some: readonly TemplateMessage[], addGenerationPrompt = false) =>
        run(some, { addGenerationPrompt, tools: shownTools, variables: {} });
      const quotedText = render(quoted);
      const encoding = encodeQuoted(tokenizer, quoting, quotedText);
      const turns = { quoting, quoted, quotedText, render };
      const spans = [
        ...locateTexts(turns).map(({ messageIndex, start, end }) => ({
          messageIndex,
          start: encoding.tokenAt(start),
          end: encoding.tokenAt(end) + (encoding.isControlTokenAt(end) ? 1 : 0),
        })),
        ...locateCalls(turns).map(({ messageIndex, start }) => ({
          messageIndex,
          start: encoding.tokenAt(start),
          end: encoding.behindFirst(endsOfTurn(tokenizer, turns), start),
        })),
      ].sort((a, b) => a.messageIndex - b.messageIndex);
      return { ids: encoding.ids, text: quoting.restore(quotedText), spans };
    },
  };
}

/** Runs the template on quoted values. */
type RunTemplate = (
  messages: readonly TemplateMessage[],
  given: { addGenerationPrompt: boolean; tools: unknown[]; variables: TemplateVariables },
) => string;

/** A rendered conversation and the data needed to locate its turns. */
interface Turns {
  quoting: Quoting;
  quoted: readonly TemplateMessage[];
  quotedText: string;
  render(messages: readonly TemplateMessage[], addGenerationPrompt?: boolean): string;
}

/** Returns the ranges of the assistant's messages without calls. */
function locateTexts({ quoting, quoted, quotedText, render }: Turns): MessageRange[] {
  const contents = quoted.flatMap(({ role, content, tool_calls }, messageIndex) =>
    role === 'assistant' && !tool_calls
      ? { messageIndex, content, mark: quoting.mark(messageIndex) }
      : [],
  );
  const marked = quoted.slice();
  for (const { messageIndex, mark } of contents) {
    marked[messageIndex] = { ...marked[messageIndex]!, content: mark };
  }
  const ranges = locateContents(quotedText, render(marked), contents);
  if (ranges) return ranges.map((range) => withThoughts(range, { quoted, quotedText, render }));
  throw templateError(
    "the model's chat template changes the assistant's messages, so their tokens cannot be located",
  );
}

/**
 * Extends the range of a message by the thoughts before it, which begin at the end of the prompt for it. A template that does not
 * show them, or shows the prompt differently, leaves the range as it is.
 */
function withThoughts(
  range: MessageRange,
  { quoted, quotedText, render }: Omit<Turns, 'quoting'>,
): MessageRange {
  if (quoted[range.messageIndex]!.reasoning_content === undefined) return range;
  const prompt = render(quoted.slice(0, range.messageIndex), true);
  if (!quotedText.startsWith(prompt) || prompt.length > range.start) return range;
  return { ...range, start: prompt.length };
}

/**
 * Returns the offsets at which the assistant's messages with calls begin: the position of the content or, if the template omits
 * the content, the end of the generation prompt.
 */
function locateCalls({ quoting, quoted, quotedText, render }: Turns) {
  return quoted.flatMap((message, messageIndex) => {
    if (!message.tool_calls) return [];
    const mark = quoting.mark(messageIndex);
    const skeleton = render(quoted.with(messageIndex, { ...message, content: mark }));
    const at = skeleton.indexOf(mark);
    const before =
      at < 0 ? render(quoted.slice(0, messageIndex), true) : skeleton.slice(0, at).trimEnd();
    if (!quotedText.startsWith(before)) {
      throw templateError(
        `the model's chat template renders the messages before message ${messageIndex} differently without it, so its tokens cannot be located`,
      );
    }
    const rest = quotedText.slice(before.length);
    const start = at < 0 ? before.length : quotedText.length - rest.trimStart().length;
    return { messageIndex, start };
  });
}

/**
 * Returns the control tokens that end an assistant's turn: the end-of-text tokens, and the token that follows a plain message.
 */
function endsOfTurn(
  { encoder, specialIds, eosTokenIds }: Tokenizer,
  { quoting, render }: Turns,
): ReadonlySet<number> {
  const mark = quoting.mark(0);
  const probe = render([
    { role: 'user', content: '' },
    { role: 'assistant', content: mark },
  ]);
  const behind = probe.slice(probe.indexOf(mark) + mark.length);
  const first = encoder
    .split(behind, { specials: true })
    .find(({ id }) => id !== undefined && specialIds.has(id));
  return new Set([...eosTokenIds, ...(first ? [first.id!] : [])]);
}

/** Returns the rendering up to the end of the last message's content. */
function cutAfterLast(
  quoting: Quoting,
  quoted: readonly TemplateMessage[],
  {
    quotedText,
    render,
  }: { quotedText: string; render(messages: readonly TemplateMessage[]): string },
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

function templateError(reason: string, cause?: unknown): ServeError {
  return fieldError('messages', reason, cause);
}

function parseTemplate(source: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    throw new FileError('chat_template', 'is not a valid Jinja template', { cause });
  }
}

/** Encodes a rendering. Its control tokens come from the template. The text between two of them is encoded as one piece. */
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
    /** Returns the index after the first of these tokens at or after this offset, or the number of tokens. */
    behindFirst(some: ReadonlySet<number>, offset: number): number {
      const index = sections.findIndex(
        ({ start, id }) => start >= offset && id !== undefined && some.has(id),
      );
      return index < 0 ? ids.length : firstTokens[index]! + 1;
    },
    isControlTokenAt(offset: number): boolean {
      const id = sections.find(({ start }) => start === offset)?.id;
      return id !== undefined && specialIds.has(id);
    },
  };
}
