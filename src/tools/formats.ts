// The formats of tool calls: how models are given tools and how they call them, as a table. Each format writes calls as JSON
// objects; the tags around them differ.
import { createHash } from 'node:crypto';
import { TOOL_FORMAT_NAMES, type ToolFormatName } from '../contracts/tool-format.ts';
import type { FunctionTool, ToolCall } from '../contracts/tools.ts';

/** A model family's format for tools, calls and results. */
export interface ToolFormat {
  readonly name: ToolFormatName;
  /** The tag before calls, and the control token that may stand before calls without a tag. */
  readonly open: string;
  /** The tag after calls. Empty: they end with the completion. */
  readonly close: string;
  /** Whether a completion may start with a call without the opening tag. */
  readonly startsBare: boolean;
  /** Whether a completion contains at most one call, because the family's templates accept no more. */
  readonly isSingle: boolean;
  /** The text around one call: before its name, between name and arguments, and after the arguments. */
  readonly call: readonly [before: string, between: string, after: string];
  /** The text around all calls of a completion, and between two calls. */
  readonly list: readonly [before: string, between: string, after: string];
  /** Converts an id to the form that the family's templates require. */
  toTemplateId(id: string): string;
  /** For templates that cannot show tools: the instructions, as part of the system message. */
  describe(tools: readonly FunctionTool[]): string;
  /** For templates that cannot show results: the text of a result, as part of a user message. */
  writeResult(content: string, id: string): string;
}

const sameId = (id: string) => id;

/** All formats, one row each. The first is for models whose template cannot show tools. */
const FORMATS: Readonly<Record<ToolFormatName, ToolFormat>> = {
  // Hermes 2 Pro and later, Qwen 2.5, Qwen 3.
  hermes: {
    name: 'hermes',
    open: '<tool_call>',
    close: '</tool_call>',
    startsBare: false,
    isSingle: false,
    call: ['<tool_call>\n{"name": "', '", "arguments": ', '}\n</tool_call>'],
    list: ['', '\n', ''],
    toTemplateId: sameId,
    describe: (tools) => `# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
${tools.map(writeTool).join('\n')}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`,
    writeResult: (content) => `<tool_response>\n${content}\n</tool_response>`,
  },
  // Llama 3.1 and later. The control token precedes calls of built-in tools; the model also starts other calls with it.
  llama3: {
    name: 'llama3',
    open: '<|python_tag|>',
    close: '',
    startsBare: true,
    isSingle: true,
    call: ['{"name": "', '", "parameters": ', '}'],
    list: ['', '', ''],
    toTemplateId: sameId,
    describe: (tools) => `You have access to the following functions. \
To call a function, please respond with JSON for a function call. \
Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}. \
Do not use variables.

${tools.map(writeTool).join('\n\n')}`,
    writeResult: (content) => spaceJson(JSON.stringify({ output: content })),
  },
  // Mistral 7B v0.3, Nemo, Small, Large.
  mistral: {
    name: 'mistral',
    open: '[TOOL_CALLS]',
    close: '',
    startsBare: false,
    isSingle: false,
    call: ['{"name": "', '", "arguments": ', '}'],
    list: ['[TOOL_CALLS] [', ', ', ']'],
    toTemplateId: toNineCharacters,
    describe: (tools) => `[AVAILABLE_TOOLS] [${tools.map(writeTool).join(', ')}][/AVAILABLE_TOOLS]`,
    writeResult: (content, id) =>
      `[TOOL_RESULTS] ${spaceJson(JSON.stringify({ content, call_id: toNineCharacters(id) }))}[/TOOL_RESULTS]`,
  },
};

/** All formats. The first is for models whose template cannot show tools. */
export const TOOL_FORMATS: readonly ToolFormat[] = TOOL_FORMAT_NAMES.map((name) => FORMATS[name]);

/** Returns the format with this name. */
export function toolFormat(name: ToolFormatName): ToolFormat {
  return FORMATS[name];
}

/** Writes calls as the model writes them. */
export function writeCalls(
  { call: [before, between, after], list }: ToolFormat,
  calls: readonly Pick<ToolCall, 'name' | 'arguments'>[],
): string {
  const written = calls.map(
    ({ name, arguments: given }) => before + name + between + spaceJson(given) + after,
  );
  return list[0] + written.join(list[1]) + list[2];
}

function writeTool(tool: FunctionTool): string {
  return spaceJson(JSON.stringify({ type: 'function', function: tool }));
}

/**
 * Rewrites the white space of valid JSON as Python's writer does, because models were trained on that. Numbers stay unchanged.
 */
export function spaceJson(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"|\s+|[:,]/gu, (part) => {
    if (part.startsWith('"')) return part;
    return part === ':' ? ': ' : part === ',' ? ', ' : '';
  });
}

/** Mistral's templates only accept ids of nine letters or digits. */
function toNineCharacters(id: string): string {
  if (/^[a-zA-Z0-9]{9}$/.test(id)) return id;
  return createHash('sha256').update(id).digest('hex').slice(0, 9);
}
