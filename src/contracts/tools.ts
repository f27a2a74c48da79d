// Tools and their calls, as OpenAI's API and its fine-tuning files write them. `src/tools` handles how a model sees tools and
// how it calls them.
import { z } from 'zod';
import { parseShallowText } from '../common/json-scan.ts';
import { MAX_COUNT } from '../common/max-count.ts';

/** As many as OpenAI's API allows. Each is a part of the prompt. */
export const MAX_TOOLS = 128;
/** OpenAI's limit. Templates write names without escaping, so other characters could break out of the name. */
const NAME = /^[a-zA-Z0-9_-]{1,64}$/;
/** A server creates a call's id. OpenAI's have 29 characters. */
export const MAX_CALL_ID_LENGTH = 256;

/** Schemas are walked recursively. Real ones have fewer than 20 levels. */
const MAX_SCHEMA_DEPTH = 64;

/** A function that the model may call. */
export interface FunctionTool {
  readonly name: string;
  readonly description?: string | undefined;
  /** The JSON Schema of its arguments. Absent if it takes none. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined;
}

/** A call of a function. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** The text of a JSON object. */
  readonly arguments: string;
}

const toolName = z.string().regex(NAME, 'must be 1 to 64 letters, digits, _ or -');

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
}

const parametersSchema = z
  .unknown()
  .optional()
  .transform((value, ctx): Record<string, unknown> | undefined => {
    if (value === undefined || value === null) return undefined;
    const isObject = typeof value === 'object' && !Array.isArray(value);
    const { type } = (isObject ? value : {}) as { type?: unknown };
    if (isDeeper(value, MAX_SCHEMA_DEPTH)) {
      const message = `is nested deeper than ${MAX_SCHEMA_DEPTH} levels`;
      ctx.addIssue({ code: 'custom', message });
      return z.NEVER;
    }
    if (isObject && (type === undefined || type === 'object')) {
      return value as Record<string, unknown>;
    }
    ctx.addIssue({
      code: 'custom',
      message: 'must be a JSON Schema of type object',
      ...(isObject && { path: ['type'] }),
    });
    return z.NEVER;
  });

/** A function, in the form that `functions` and the function tools in `tools` share. */
export const functionSchema = z
  .strictObject({
    name: toolName,
    description: z.string().nullish(),
    parameters: parametersSchema,
    strict: z.boolean().nullish(),
  })
  .transform(
    ({ name, description, parameters }): FunctionTool => ({
      name,
      ...(description != null && { description }),
      ...(parameters && { parameters }),
    }),
  );

const toolSchema = z
  .unknown()
  .refine((tool) => (tool as { type?: unknown } | null)?.type === 'function', {
    path: ['type'],
    message: 'only tools of type function are supported',
    params: { code: 'unsupported_parameter' },
    abort: true, // the checks of the list expect only tools
  })
  .pipe(z.strictObject({ type: z.literal('function'), function: functionSchema }))
  .transform((tool) => tool.function);

/** Adds an issue for the first item with the key of an earlier one, at the path that `pathOf` returns. */
function refuseRepeated<Item>(
  keyOf: (item: Item) => string,
  message: string,
  pathOf: (index: number) => PropertyKey[],
) {
  return (items: readonly Item[], ctx: z.RefinementCtx): void => {
    const keys = items.map(keyOf);
    const index = keys.findIndex((key, i) => keys.indexOf(key) < i);
    if (index >= 0) ctx.addIssue({ code: 'custom', message, path: pathOf(index) });
  };
}

/** Adds an issue for the first duplicate name, at the path that `pathOf` returns. */
export function refuseTwins(pathOf: (index: number) => PropertyKey[]) {
  const message = 'an earlier function has the same name';
  return refuseRepeated(({ name }: FunctionTool) => name, message, pathOf);
}

/** A list of `tools`. */
export const toolsSchema = z
  .array(toolSchema)
  .max(MAX_TOOLS, `at most ${MAX_TOOLS} are allowed`)
  .superRefine(refuseTwins((index) => [index, 'function', 'name']));

/** A list of the older `functions`. */
export const functionsSchema = z
  .array(functionSchema)
  .max(MAX_TOOLS, `at most ${MAX_TOOLS} are allowed`)
  .superRefine(refuseTwins((index) => [index, 'name']));

/** Whether a text is a JSON object. */
function isJsonObject(text: string): boolean {
  try {
    const value = parseShallowText(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** A function's name and arguments. Some clients write an empty text if there are no arguments. */
export const calledFunctionSchema = z.strictObject({
  name: toolName,
  arguments: z
    .string()
    .transform((text) => (text.trim() === '' ? '{}' : text))
    .refine(isJsonObject, 'must be the text of a JSON object'),
});

/** The calls of an assistant's message. */
export const toolCallsSchema = z
  .array(
    z
      .strictObject({
        id: z.string().min(1).max(MAX_CALL_ID_LENGTH),
        type: z.literal('function', 'only calls of type function are supported').optional(),
        /** OpenAI's clients add the parsed arguments to the calls that they keep. */
        function: calledFunctionSchema.extend({ parsed_arguments: z.unknown().optional() }),
        /** Their index in a stream, which clients may leave in. */
        index: z.int().max(MAX_COUNT).nullish(),
      })
      .transform(
        ({ id, function: { name, arguments: given } }): ToolCall => ({
          id,
          name,
          arguments: given,
        }),
      ),
  )
  .max(MAX_TOOLS, `at most ${MAX_TOOLS} are allowed`)
  .superRefine(
    refuseRepeated(
      ({ id }) => id,
      'an earlier call has the same id',
      (index) => [index, 'id'],
    ),
  );

/** The parts of a message that link calls and their results. */
export interface CallMessage {
  readonly toolCalls?: readonly ToolCall[] | undefined;
  readonly toolCallId?: string | undefined;
}

/** Returns the index of the first message that answers a call which no earlier message made, or -1. */
export function findOrphan(messages: readonly CallMessage[]): number {
  const callIds = new Set<string>();
  return messages.findIndex(({ toolCalls = [], toolCallId }) => {
    for (const { id } of toolCalls) callIds.add(id);
    return toolCallId !== undefined && !callIds.has(toolCallId);
  });
}
