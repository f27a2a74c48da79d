// A chat template that supports tools: the model's template if it shows them, otherwise one that describes tools, calls and
// results in the messages' text. Requests and training rows are both rendered by this code.
import { ServeError } from '../common/errors.ts';
import type { ToolFormatName } from '../contracts/tool-format.ts';
import type { FunctionTool } from '../contracts/tools.ts';
import { type ChatTemplate, createChatTemplate } from '../tokenizer/chat-template.ts';
import type { ChatMessage } from '../tokenizer/template-values.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { CallParser, parseCompletion } from './call-parser.ts';
import { spaceJson, TOOL_FORMATS, type ToolFormat, toolFormat, writeCalls } from './formats.ts';

/** A chat template that shows tools, calls and their results. */
export interface ToolTemplate extends ChatTemplate {
  /** The format in which the model calls tools. */
  readonly format: ToolFormat;
  /** Whether the model's template shows tools in this format. */
  readonly isNative: boolean;
  /** Returns this template for an extended tokenizer. */
  extended(tokenizer: Tokenizer): ToolTemplate;
}

/**
 * Creates the template of a model; undefined if it has none. Throws `FileError` if it is invalid.
 * @param forced the format to use instead of the format of the model's template
 */
export function createToolTemplate(
  tokenizer: Tokenizer,
  forced?: ToolFormatName | undefined,
): ToolTemplate | undefined {
  const template = createChatTemplate(tokenizer);
  if (!template) return undefined;
  let cachedDialect: Dialect | undefined; // most servers never see a tool
  const dialect = () => {
    cachedDialect ??= findDialect(template, forced);
    return cachedDialect;
  };
  const show = (messages: readonly ChatMessage[], tools: readonly FunctionTool[] = []): Shown => {
    if (tools.length === 0 && !messages.some(isAboutTools)) return { messages };
    return dialect().isNative
      ? { messages: withTemplateIds(messages, dialect().format), tools }
      : describe(messages, tools, dialect());
  };
  return {
    get format() {
      return dialect().format;
    },
    get isNative() {
      return dialect().isNative;
    },
    extended: (other) => createToolTemplate(other, forced)!,
    render(messages, options) {
      const view = show(messages, options.tools);
      return template.render(view.messages, { ...options, tools: view.tools });
    },
    renderWithSpans(messages, { tools } = {}) {
      const view = show(messages, tools);
      const { spans, ...rendered } = template.renderWithSpans(view.messages, {
        tools: view.tools,
      });
      const sourceOf = (index: number) => view.sources?.[index] ?? index;
      return {
        ...rendered,
        spans: spans.map((span) => ({ ...span, messageIndex: sourceOf(span.messageIndex) })),
      };
    },
  };
}

/** The way to show tools to a model. */
interface Dialect {
  format: ToolFormat;
  isNative: boolean;
  /** Whether the template shows system messages. */
  hasSystem: boolean;
}

/** The values for a template. */
interface Shown {
  messages: readonly ChatMessage[];
  tools?: readonly FunctionTool[];
  /** For each message, the index of its source message. Absent: its own. */
  sources?: readonly number[];
}

function isAboutTools({ role, toolCalls }: ChatMessage): boolean {
  return role === 'tool' || (toolCalls?.length ?? 0) > 0;
}

/** Finds the format by rendering a conversation with tools and parsing the result as a completion. */
function findDialect(template: ChatTemplate, forced: ToolFormatName | undefined): Dialect {
  const native = TOOL_FORMATS.find((format) => shows(template, format));
  const format = forced === undefined ? (native ?? TOOL_FORMATS[0]!) : toolFormat(forced);
  const isNative = format === native;
  return { format, isNative, hasSystem: isNative || rendersSystem(template) };
}

const PROBE = {
  tool: { name: 'probe_tool', description: 'Probes.', parameters: { type: 'object' } },
  call: { id: 'probe0001', name: 'probe_tool', arguments: '{"probe": "tried"}' },
  result: 'probe_result',
} satisfies { tool: FunctionTool } & Record<string, unknown>;

/** Whether the template shows tools, results, and calls in this format. */
function shows(template: ChatTemplate, format: ToolFormat): boolean {
  const question: ChatMessage[] = [{ role: 'user', content: 'Probe.' }];
  const withCall: ChatMessage[] = [
    ...question,
    { role: 'assistant', content: '', toolCalls: [PROBE.call] },
  ];
  const withResult: ChatMessage[] = [
    ...withCall,
    { role: 'tool', content: PROBE.result, toolCallId: PROBE.call.id, name: PROBE.call.name },
  ];
  const tools = [PROBE.tool];
  const render = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) =>
    tryRender(() => template.render(messages, { tools, addGenerationPrompt }).text) ?? '';
  const prompt = render(question, true);
  const conversation = render(withCall, false);
  return (
    prompt.includes(PROBE.tool.name) &&
    conversation.startsWith(prompt) &&
    isProbeCall(conversation.slice(prompt.length), format) &&
    render(withResult, true).includes(PROBE.result)
  );
}

function isProbeCall(answer: string, format: ToolFormat): boolean {
  const { call } = PROBE;
  const options = { names: [call.name], maxCalls: 1, createId: () => call.id };
  const parser = new CallParser(format, options);
  const [found] = parseCompletion(parser, answer).calls;
  return found !== undefined && spaceJson(found.arguments) === call.arguments;
}

/** Some templates refuse system messages; others omit them. */
function rendersSystem(template: ChatTemplate): boolean {
  const messages = [
    { role: 'system', content: PROBE.result },
    { role: 'user', content: 'Probe.' },
  ];
  const text = tryRender(() => template.render(messages, { addGenerationPrompt: true }).text);
  return text?.includes(PROBE.result) ?? false;
}

/** Returns undefined if the template rejects the messages. */
function tryRender(render: () => string): string | undefined {
  try {
    return render();
  } catch (error) {
    if (error instanceof ServeError) return undefined;
    throw error;
  }
}

/** Adds the function name to each result, and converts ids to the form that the family's templates require. */
function withTemplateIds(
  messages: readonly ChatMessage[],
  { toTemplateId }: ToolFormat,
): ChatMessage[] {
  const names = new Map<string, string>();
  return messages.map(({ toolCalls, toolCallId, ...message }) => {
    for (const { id, name } of toolCalls ?? []) names.set(id, name);
    const name = message.name ?? names.get(toolCallId ?? '');
    return {
      ...message,
      ...(name !== undefined && { name }),
      ...(toolCalls && {
        toolCalls: toolCalls.map((call) => ({ ...call, id: toTemplateId(call.id) })),
      }),
      ...(toolCallId !== undefined && { toolCallId: toTemplateId(toolCallId) }),
    };
  });
}

/** Writes tools, calls and results as text. The results of one turn form one user message. */
function describe(
  messages: readonly ChatMessage[],
  tools: readonly FunctionTool[],
  { format, hasSystem }: Dialect,
): Shown {
  const turns: ChatMessage[] = [];
  const sources: number[] = [];
  for (const [source, message] of messages.entries()) {
    const { role, content, toolCalls = [], toolCallId = '', ...rest } = message;
    if (role !== 'tool') {
      const calls = toolCalls.length > 0 ? [writeCalls(format, toolCalls)] : [];
      const texts = content === '' ? calls : [content, ...calls];
      turns.push({ role, content: texts.join('\n'), ...rest });
      sources.push(source);
      continue;
    }
    const result = format.writeResult(content, toolCallId);
    if (messages[source - 1]?.role === 'tool') turns.at(-1)!.content += `\n${result}`;
    else {
      turns.push({ role: 'user', content: result });
      sources.push(source);
    }
  }
  if (tools.length === 0) return { messages: turns, sources };
  const text = format.describe(tools);
  const role = hasSystem ? 'system' : 'user';
  const [first] = turns;
  if (first?.role !== role) {
    return { messages: [{ role, content: text }, ...turns], sources: [-1, ...sources] };
  }
  const content = hasSystem ? `${first.content}\n\n${text}` : `${text}\n\n${first.content}`;
  return { messages: turns.with(0, { ...first, content }), sources };
}
